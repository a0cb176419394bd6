"""Penalties on a discriminator, which bound its gradients, its logits or its weights, and on a generator.

Each is a module that takes a `DiscriminatorPass` and returns the weighted penalty of each image [B]. A penalty with
`interval` n is computed only at every n-th discriminator update and then counts n times (lazy regularization, Karras
et al. 2020): the same mean gradient at a fraction of the cost. A model holds its penalties in `Penalties`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
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
    """One discriminator update, as a penalty sees it.

    The discriminator's inputs are images [B, C, H, W] in [0, 1] or, in model=wae, codes [B, Z]; the real codes are
    draws from the prior.
    """

    real: Tensor  # inputs of the discriminator
    fake: Tensor  # the same number, with the same labels where there are classes
    real_logits: Tensor  # [B]
    fake_logits: Tensor  # [B]
    judge: Judge  # the discriminator as a function of its inputs, with augmentation and labels
    discriminator: nn.Module  # its parameters, for a penalty on weights
    noise: Noise  # random numbers of this training step
    input_scale: float = 2.0  # the discriminator scales images from [0, 1] to [-1, 1]; 1 for codes


@dataclass
class GeneratorPass:
    """One update of a generator with styles, as a penalty on it sees it."""

    latents: Tensor  # [B, Z (+ K)]
    styles: Callable[[Tensor], Tensor]  # latents -> styles of each layer [B, L, D]
    images: Callable[[Tensor], Tensor]  # styles -> images [B, C, H, W] in [-1, 1]
    noise: Noise  # random numbers of this training step


class Penalty(FullPrecision, ABC):
    """Base class of the penalties: a weight, and the interval between the updates at which it is computed."""

    images_only = False  # true: not for a discriminator of codes
    takes: type = DiscriminatorPass  # or GeneratorPass: which player's update it is a part of

    def __init__(self, weight: NonNegative, interval: Count = 1) -> None:
        super().__init__()
        self.weight, self.interval = weight, interval

    @abstractmethod
    def forward(self, seen: Any) -> Tensor:
        """The weighted penalty of each image [B], or a scalar if it does not depend on images."""

    def after_update(self, discriminator: nn.Module) -> None:
        """Change the weights after an update; most penalties do nothing here."""


def squared_gradient_norm(seen: DiscriminatorPass, inputs: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each input [B], summed over its pixels; differentiable.

    The gradient is with respect to pixels in [-1, 1], to which published weights and targets refer. It is half of the
    gradient with respect to images in [0, 1].
    """
    inputs = inputs.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(seen.judge(inputs).sum(), inputs, create_graph=True)
    return (gradient / seen.input_scale).flatten(1).square().sum(dim=1)


def one_each(seen: DiscriminatorPass) -> Tensor:
    """One number from U[0, 1) for each input, in a shape that broadcasts with the inputs."""
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
    """weight (||grad D(x^)|| - target)^2 (Gulrajani et al. 2017, eq. 3).

    x^ is a random point on the line between a real and a generated image. `one_sided`: penalize only norms above the
    target (their sec. 4; Petzka et al. 2018).
    """

    def __init__(
        self, weight: NonNegative, interval: Count = 1, target: NonNegative = 1.0, one_sided: bool = False
    ) -> None:
        super().__init__(weight, interval)
        self.target, self.one_sided = target, one_sided

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        return self.weight * self._excess(seen, self.points(seen)).square()

    def points(self, seen: DiscriminatorPass) -> Tensor:
        """The points x^ at which the gradient is taken, with the shape of the inputs."""
        return torch.lerp(seen.real, seen.fake, one_each(seen))

    def _excess(self, seen: DiscriminatorPass, points: Tensor) -> Tensor:
        # The gradient of the root is infinite at 0, the norm of a constant discriminator: 1e-12 keeps it finite.
        norm = (squared_gradient_norm(seen, points) + 1e-12).sqrt()
        return (norm - self.target).clamp(min=0) if self.one_sided else norm - self.target


class Dragan(GradientPenalty):
    """DRAGAN, a gradient penalty near real images: x^ = x + 0.5 a std(x) U[0, 1) (Kodali et al. 2017, sec. 2.3).

    As in the authors' code, std(x) is the standard deviation of all pixels of the batch, and a ~ U[0, 1), one for
    each image, interpolates between the image and the perturbed image. The paper takes the perturbed image itself, a
    = 1: `interpolate=False`.
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
    """Clamps every weight to [-limit, limit] after each update (Arjovsky et al. 2017, algorithm 1)."""

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
    """The penalties on one discriminator, by name; may be empty.

    Raises:
        UserError: the config sets values of a penalty that was not chosen.
    """

    def __init__(self, penalties: Mapping[str, Any]) -> None:
        for name, penalty in penalties.items():
            if not isinstance(penalty, Penalty | Mapping):
                raise UserError(f"model.penalty.{name}: {type(penalty).__name__} is not a subclass of Penalty.")
            if not isinstance(penalty, Penalty):
                raise UserError(
                    f"model.penalty.{name} has values, but model/penalty does not choose it. Set "
                    f"model/penalty=[{name}]; to train without it leave that and set model.penalty.{name}.weight=0."
                )
        super().__init__(penalties)
        self._latest: dict[str, tuple[int, list[Tensor]]] = {}  # the update that last computed it, each batch's mean

    def of(self, kind: type) -> list[str]:
        """The names of the penalties on updates of this kind, `DiscriminatorPass` or `GeneratorPass`."""
        return [name for name, penalty in self.items() if penalty.takes is kind]

    def forward(self, seen: DiscriminatorPass | GeneratorPass, index: int) -> Tensor:
        """The sum of the penalties due at the player's update of this index: a scalar, in full precision.

        Raises:
            UserError: a penalty returns something else than a tensor.
        """
        inputs = seen.real if isinstance(seen, DiscriminatorPass) else seen.latents
        total = torch.zeros((), device=inputs.device)
        with no_autocast(inputs):  # or the gradient inside a penalty would be in half precision
            for name in self.of(type(seen)):
                penalty = self[name]
                assert isinstance(penalty, Penalty)
                if index % penalty.interval == 0:
                    value = penalty(seen)
                    if not isinstance(value, Tensor):
                        kind, given = type(penalty).__name__, type(value).__name__
                        raise UserError(
                            f"model.penalty.{name}: {kind}.forward must return a tensor, one value for each image "
                            f"[B], but returned a {given}."
                        )
                    value = value.mean()
                    total = total + penalty.interval * value
                    self._keep(name, index, value.detach())
        return total

    def lazy_due(self, updates: Iterable[int]) -> bool:
        """Whether a penalty that is computed only at some updates is due at one of these."""
        intervals: list[int] = [penalty.interval for penalty in self.values()]  # type: ignore[misc]
        return any(n > 1 and index % n == 0 for n in intervals for index in updates)

    def _keep(self, name: str, index: int, value: Tensor) -> None:
        """Keep the value of one batch of the update `index`, beside those of the earlier batches of that update."""
        if name not in self._latest or self._latest[name][0] != index:
            self._latest[name] = (index, [])
        self._latest[name][1].append(value)

    def latest(self, kind: type, index: int) -> dict[str, Tensor]:
        """The mean penalties, to log at the player's update of this index: scalars, by name.

        One that is due at this update has the value of the batch; another that of the update that last computed it.
        """
        found = {name: self._latest[name] for name in self.of(kind) if name in self._latest}
        return {
            name: values[-1] if computed == index else torch.stack(values).mean()
            for name, (computed, values) in found.items()
        }

    def logged_state(self) -> dict[str, tuple[int, Tensor]]:
        """What a resumed run needs to log the same: when each was last computed, and its mean over all processes."""
        return {
            name: (index, mean_over_processes(torch.stack(values).mean()))
            for name, (index, values) in self._latest.items()
        }

    def load_logged_state(self, state: Mapping[str, tuple[int, Tensor]]) -> None:
        """Restore what `logged_state` returned."""
        self._latest = {name: (index, [value]) for name, (index, value) in state.items() if name in self}

    def after_update(self, discriminator: nn.Module) -> None:
        """Let each penalty change the weights after an update."""
        for penalty in self.values():
            assert isinstance(penalty, Penalty)
            penalty.after_update(discriminator)
