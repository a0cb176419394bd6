"""Penalties on a discriminator: what keeps its gradients, or its answers, within bounds.

Each is a module that takes a `DiscriminatorPass` and gives the penalty of each image [B], its weight included. A
penalty with `interval` n is computed at every n-th discriminator update only and then counts n times (lazy
regularization, Karras et al. 2020), which gives the same mean gradient at a fraction of the cost. A model holds all
that were chosen as its `Penalties`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gen.distributed import mean_over_processes
from lightning_gen.errors import UserError
from lightning_gen.networks.precision import FullPrecision, no_autocast
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, NonNegative, Positive

Judge = Callable[[Tensor], Tensor]  # inputs, such as images [B, C, H, W] -> logits [B], in full precision


@dataclass
class DiscriminatorPass:
    """What a penalty sees of a discriminator update.

    The discriminator is one of images [B, C, H, W] in [0, 1] or, in model=wae, one of codes [B, Z], whose real ones
    are draws from the prior.
    """

    real: Tensor  # inputs of the discriminator
    fake: Tensor  # as many, of equal labels where there are classes
    real_logits: Tensor  # [B]
    fake_logits: Tensor  # [B]
    judge: Judge  # the discriminator as a function of its inputs, with augmentation and labels
    discriminator: nn.Module  # its parameters, for a penalty on weights
    noise: Noise  # of this training step
    input_scale: float = 2.0  # of the inputs in the discriminator: images in [0, 1] come to [-1, 1] there; codes: 1


class Penalty(FullPrecision, ABC):
    """A penalty of a weight, computed at every `interval`-th discriminator update."""

    images_only = False  # makes no sense for a discriminator of codes

    def __init__(self, weight: NonNegative, interval: Count = 1) -> None:
        super().__init__()
        self.weight, self.interval = weight, interval

    @abstractmethod
    def forward(self, seen: DiscriminatorPass) -> Tensor:
        """The weighted penalty of each image [B], or a scalar where it is none of images, such as one on weights."""

    def after_update(self, discriminator: nn.Module) -> None:
        """What is done to the weights after an update; nothing for most."""


def squared_gradient_norm(seen: DiscriminatorPass, inputs: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each input [B], summed over its pixels, with a graph for its own gradient.

    In the networks' own units, to which the published weights and targets refer: with pixels in [-1, 1] the gradient
    is half of that for images in [0, 1].
    """
    inputs = inputs.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(seen.judge(inputs).sum(), inputs, create_graph=True)
    return (gradient / seen.input_scale).flatten(1).square().sum(dim=1)


def one_each(seen: DiscriminatorPass) -> Tensor:
    """A number from U[0, 1) for each input, in a shape that is spread over it."""
    shape = (len(seen.real), *[1] * (seen.real.dim() - 1))
    return seen.noise.uniform(shape, seen.real.device).to(seen.real.dtype)


class R1(Penalty):
    """weight / 2 ||grad D(x)||^2 on real images (Mescheder et al. 2018, eq. 9)."""

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        return 0.5 * self.weight * squared_gradient_norm(seen, seen.real)


class R2(Penalty):
    """weight / 2 ||grad D(G(z))||^2 on generated images (Mescheder et al. 2018, eq. 10)."""

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        return 0.5 * self.weight * squared_gradient_norm(seen, seen.fake)


class GradientPenalty(Penalty):
    """weight (||grad D(x^)|| - target)^2, x^ between a real and a generated image (Gulrajani et al. 2017, eq. 3).

    `one_sided`: only norms above the target are penalized (their sec. 4; Petzka et al. 2018).
    """

    def __init__(
        self, weight: NonNegative, interval: Count = 1, target: NonNegative = 1.0, one_sided: bool = False
    ) -> None:
        super().__init__(weight, interval)
        self.target, self.one_sided = target, one_sided

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        return self.weight * self._excess(seen, self.points(seen)).square()

    def points(self, seen: DiscriminatorPass) -> Tensor:
        """Where the gradient is taken, in the shape of the inputs."""
        return torch.lerp(seen.real, seen.fake, one_each(seen))

    def _excess(self, seen: DiscriminatorPass, points: Tensor) -> Tensor:
        # The root has no gradient at 0, where a dead discriminator starts: the smallest number keeps it finite.
        norm = (squared_gradient_norm(seen, points) + 1e-12).sqrt()
        return (norm - self.target).clamp(min=0) if self.one_sided else norm - self.target


class Dragan(GradientPenalty):
    """The gradient penalty around real images: x^ = x + 0.5 a std(x) U[0, 1) (Kodali et al. 2017, sec. 2.3).

    As in the authors' code, the standard deviation is that of all pixels of the batch, and x^ lies at a random part a
    ~ U[0, 1) of the way from the image to the perturbed one, one a for each image. The paper takes the perturbed one
    itself, a = 1: `interpolate=False`.
    """

    def __init__(
        self,
        weight: NonNegative,
        interval: Count = 1,
        target: NonNegative = 1.0,
        one_sided: bool = False,
        interpolate: bool = True,
    ) -> None:
        super().__init__(weight, interval, target, one_sided)
        self.interpolate = interpolate

    def points(self, seen: DiscriminatorPass) -> Tensor:
        drawn = seen.noise.uniform(seen.real.shape, seen.real.device).to(seen.real.dtype)
        mean, square = mean_over_processes(torch.stack([seen.real.mean(), seen.real.square().mean()]))
        perturbed = seen.real + 0.5 * (square - mean.square()).clamp(min=0).sqrt() * drawn
        return torch.lerp(seen.real, perturbed, one_each(seen)) if self.interpolate else perturbed


class WeightClipping(Penalty):
    """After each update every weight is clamped to [-limit, limit] (Arjovsky et al. 2017, algorithm 1)."""

    def __init__(self, limit: Positive) -> None:
        super().__init__(weight=0.0)
        self.limit = limit

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        return torch.zeros_like(seen.real_logits)

    @torch.no_grad()
    def after_update(self, discriminator: nn.Module) -> None:
        for parameter in discriminator.parameters():
            parameter.clamp_(-self.limit, self.limit)


class Penalties(nn.ModuleDict):
    """The penalties on one discriminator, by name; empty for none.

    Raises:
        UserError: values for a penalty that was not chosen.
    """

    def __init__(self, penalties: Mapping[str, Any]) -> None:
        for name, penalty in penalties.items():
            if not isinstance(penalty, Penalty):
                raise UserError(
                    f"model.penalty.{name} is set, but not chosen: model/penalty=[{name}] chooses it; to "
                    f"go without it set model.penalty.{name}.weight=0."
                )
        super().__init__(penalties)
        self.latest: dict[str, Tensor] = {}  # the mean of each, where it was last computed

    def forward(self, seen: DiscriminatorPass, index: int) -> Tensor:
        """The sum of what is due at the discriminator's update of this index, a scalar, in full precision."""
        total = torch.zeros((), device=seen.real.device)
        with no_autocast(seen.real):  # a gradient in a penalty would be in half precision too
            for name, penalty in self.items():
                assert isinstance(penalty, Penalty)
                if index % penalty.interval == 0:
                    value = penalty(seen).mean()
                    total = total + penalty.interval * value
                    self.latest[name] = value.detach()
        return total

    def after_update(self, discriminator: nn.Module) -> None:
        """What the penalties do to the weights after an update."""
        for penalty in self.values():
            assert isinstance(penalty, Penalty)
            penalty.after_update(discriminator)
