"""The gradient of DP-SGD (Abadi et al. 2016, algorithm 1): of each image, clipped, summed, with Gaussian noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lightning_gen.randomness import Noise, StepNoise, Stream, mix

# (noise for one image, then one image [C, H, W] or whatever else the loss is of) -> its loss, a scalar
LossOfImage = Callable[..., Tensor]
AT_ONCE = 2**26  # numbers in the gradients of single images that are in memory at once


class RowNoise:
    """The noise of one image, as a row of the noise of all: inside `vmap` each image has its own."""

    def __init__(self, noise: Noise, count: int, row: Tensor) -> None:
        self.noise, self.count, self.row = noise, count, row

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        return self._row(self.noise.normal, shape, device)

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        return self._row(self.noise.uniform, shape, device)

    def _row(self, draw: Callable[..., Tensor], shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        if shape[0] != 1:
            raise ValueError(f"noise of the shape {tuple(shape)} is not that of one image, [1, ...]")
        return draw((self.count, *shape[1:]), device).index_select(0, self.row.view(1))


class _Loss(nn.Module):
    """A loss as a function of the parameters of `module`."""

    def __init__(self, module: nn.Module, loss: LossOfImage) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, *inputs: Any) -> Tensor:
        return self.loss(*inputs)


def clipped_sum(
    module: nn.Module, loss: LossOfImage, inputs: tuple[Tensor, ...], noise: Noise, max_norm: float
) -> dict[str, Tensor]:
    """The sum over images of the gradients of their losses, each scaled down to a norm of at most `max_norm`.

    The loss of an image is computed from this image alone, so no network or objective can mix images.

    Args:
        module: the module whose parameters are trained.
        loss: from noise and the rows of `inputs` to a scalar; it uses `module`.
        inputs: tensors with one row for each of B images, B at least 0.
        noise: random numbers of the loss, drawn for all images.
        max_norm: largest Euclidean norm over all parameters.

    Returns:
        Gradients by the names of the parameters, each of the parameter's shape.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    call, count = _Loss(module, loss), len(inputs[0])
    part = max(AT_ONCE // max(sum(p.numel() for p in parameters.values()), 1), 1)
    for start in range(0, count, part):
        rows = tuple(tensor[start : start + part] for tensor in inputs)
        size = len(rows[0])

        def of_image(some: dict[str, Tensor], row: Tensor, *image: Tensor, size: int = size) -> Tensor:
            named = {f"module.{name}": value for name, value in some.items()}
            return functional_call(call, named, (RowNoise(noise, size, row), *image))

        dims = (None, *(0 for _ in range(len(rows) + 1)))
        index = torch.arange(size, device=rows[0].device)
        gradients = vmap(grad(of_image), in_dims=dims, randomness="same")(parameters, index, *rows)
        norms = torch.stack([g.reshape(size, -1).norm(dim=1) for g in gradients.values()]).norm(dim=0)  # [B]
        factors = (max_norm / norms.clamp_min(1e-12)).clamp_max(1.0)
        for name, gradient in gradients.items():
            total[name] += torch.tensordot(factors, gradient, dims=1)
    return total


@dataclass
class PrivateGradients:
    """DP-SGD for one module: clipping, noise, and how much privacy the updates have spent.

    Attributes:
        noise_multiplier: standard deviation of the noise, divided by `max_grad_norm`.
        max_grad_norm: largest norm of an image's gradient.
        batch_size: expected number of images in a batch, by which the sum of gradients is divided.
        seed: of the noise; secret.
        epsilon_after: from the number of updates to epsilon.
        updates_per_step: updates in a training step.
        record: the parameters on which epsilon depends; a resumed run must have the same.
    """

    noise_multiplier: float
    max_grad_norm: float
    batch_size: int
    seed: int
    epsilon_after: Callable[[int], float]
    updates_per_step: int = 1
    record: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.noise = StepNoise(mix(self.seed, Stream.PRIVACY_NOISE))

    def epsilon(self, steps: int) -> float:
        """Epsilon after this many training steps."""
        return self.epsilon_after(steps * self.updates_per_step)

    def __call__(
        self, module: nn.Module, loss: LossOfImage, inputs: tuple[Tensor, ...], noise: Noise, update: int
    ) -> tuple[Tensor, Tensor]:
        """A scalar whose gradient is the private gradient, and the norm of that gradient.

        So optimizers and training loops work as with any loss. The module is in evaluation mode meanwhile: there
        are no random numbers in it, and its buffers do not change.

        Args:
            module, loss, inputs, noise: as in `clipped_sum`.
            update: the number of the update since training began, which decides its noise.
        """
        training = module.training
        module.eval()
        total = clipped_sum(module, loss, inputs, noise, self.max_grad_norm)
        module.train(training)
        self.noise.start(update)
        scale = self.noise_multiplier * self.max_grad_norm
        named, surrogate, squares = dict(module.named_parameters()), [], []
        for name, gradient in total.items():
            drawn = self.noise.normal(gradient.shape, gradient.device).to(gradient.dtype)
            private = (gradient + scale * drawn) / self.batch_size
            surrogate.append((named[name] * private).sum())
            squares.append(private.square().sum())
        return torch.stack(surrogate).sum(), torch.stack(squares).sum().sqrt()


def default_delta(count: int) -> float:
    """1 / N^1.1 for N images: below 1 / N, at which publishing one random image would count as private."""
    return math.pow(count, -1.1)
