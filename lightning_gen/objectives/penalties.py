"""Penalties on a discriminator: what keeps its gradients, or its answers, within bounds.

Each is a module that takes a `Pass` and gives the penalty of each image [B], its weight included. A penalty with
`interval` n is computed at every n-th discriminator update only and then counts n times (lazy regularization, Karras
et al. 2020), which gives the same mean gradient at a fraction of the cost.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_gen.distributed import mean_over_processes
from lightning_gen.networks.precision import FullPrecision
from lightning_gen.objectives.corruption import random_shift
from lightning_gen.randomness import Noise

Judge = Callable[[Tensor], Tensor]  # images [B, C, H, W] -> logits [B], in full precision


@dataclass
class Pass:
    """What a penalty sees of a discriminator update.

    real, fake: images [B, C, H, W] in [0, 1], of equal labels where there are classes. real_logits, fake_logits: the
    discriminator's logits on them, [B]. judge: the discriminator, augmentation and labels included. noise: of this
    training step.
    """

    real: Tensor
    fake: Tensor
    real_logits: Tensor
    fake_logits: Tensor
    judge: Judge
    noise: Noise


class Penalty(FullPrecision, ABC):
    """A penalty of a weight, computed at every `interval`-th discriminator update."""

    def __init__(self, weight: float, interval: int = 1) -> None:
        super().__init__()
        self.weight, self.interval = weight, interval

    @abstractmethod
    def forward(self, seen: Pass) -> Tensor:
        """The weighted penalty of each image [B]."""

    def after_update(self, discriminator: nn.Module) -> None:
        """What is done to the weights after an update; nothing for most."""


def squared_gradient_norm(judge: Judge, images: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each image [B], summed over pixels, with a graph for its own gradient.

    For pixels in units of [-1, 1], the networks' own, to which the published weights and targets refer: there the
    gradient is half of that for images in [0, 1].
    """
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(judge(images).sum(), images, create_graph=True)
    return (gradient / 2).flatten(1).square().sum(dim=1)


class R1(Penalty):
    """weight / 2 ||grad D(x)||^2 on real images (Mescheder et al. 2018, eq. 9)."""

    def forward(self, seen: Pass) -> Tensor:
        return 0.5 * self.weight * squared_gradient_norm(seen.judge, seen.real)


class R2(Penalty):
    """weight / 2 ||grad D(G(z))||^2 on generated images (Mescheder et al. 2018, eq. 10)."""

    def forward(self, seen: Pass) -> Tensor:
        return 0.5 * self.weight * squared_gradient_norm(seen.judge, seen.fake)


class GradientPenalty(Penalty):
    """weight (||grad D(x^)|| - target)^2, x^ between a real and a generated image (Gulrajani et al. 2017, eq. 3).

    `one_sided`: only norms above the target are penalized (their sec. 4; Petzka et al. 2018).
    """

    def __init__(self, weight: float, interval: int = 1, target: float = 1.0, one_sided: bool = False) -> None:
        super().__init__(weight, interval)
        self.target, self.one_sided = target, one_sided

    def forward(self, seen: Pass) -> Tensor:
        return self.weight * self._excess(seen, self.points(seen)).square()

    def points(self, seen: Pass) -> Tensor:
        """Where the gradient is taken, [B, C, H, W]."""
        mixing = seen.noise.uniform((len(seen.real), 1, 1, 1), seen.real.device).to(seen.real.dtype)
        return torch.lerp(seen.real, seen.fake, mixing)

    def _excess(self, seen: Pass, points: Tensor) -> Tensor:
        # The root has no gradient at 0, where a dead discriminator starts: the smallest number keeps it finite.
        norm = (squared_gradient_norm(seen.judge, points) + 1e-12).sqrt()
        return (norm - self.target).clamp(min=0) if self.one_sided else norm - self.target


class Dragan(GradientPenalty):
    """The gradient penalty around real images: x^ = x + 0.5 std(x) U[0, 1) (Kodali et al. 2017, sec. 2.3).

    The standard deviation is that of all pixels of the batch, as in the authors' code.
    """

    def points(self, seen: Pass) -> Tensor:
        drawn = seen.noise.uniform(seen.real.shape, seen.real.device).to(seen.real.dtype)
        mean, square = mean_over_processes(torch.stack([seen.real.mean(), seen.real.square().mean()]))
        spread = (square - mean.square()).clamp(min=0).sqrt()
        return seen.real + 0.5 * spread * drawn


class LeCam(Penalty):
    """weight (|D(x) - a_F|^2 + |D(G(z)) - a_R|^2) / 2, a: running means of the other side (Tseng et al. 2021, eq. 6).

    Half of the sum, so that each image counts once. `decay`: of the running means of the logits.
    """

    anchors: Tensor

    def __init__(self, weight: float, interval: int = 1, decay: float = 0.99) -> None:
        super().__init__(weight, interval)
        self.decay = decay
        self.register_buffer("anchors", torch.zeros(2))  # of the logits on real and on generated images

    def forward(self, seen: Pass) -> Tensor:
        now = torch.stack([seen.real_logits.detach().mean(), seen.fake_logits.detach().mean()])
        self.anchors.lerp_(mean_over_processes(now).to(self.anchors), 1 - self.decay)
        real, fake = self.anchors.to(seen.real_logits).unbind()
        return 0.5 * self.weight * ((seen.real_logits - fake).square() + (seen.fake_logits - real).square())


class Consistency(Penalty):
    """weight (D(x) - D(T(x)))^2, T a random shift and flip of the image (Zhang et al. 2020, eq. 3).

    `fake_weight`: the same on generated images, as in balanced consistency (Zhao et al. 2021, algorithm 1); 0: not.
    `flip`: false for images that a mirror turns into something else, such as digits.
    """

    def __init__(
        self, weight: float, interval: int = 1, shift: int = 2, flip: bool = False, fake_weight: float = 0.0
    ) -> None:
        super().__init__(weight, interval)
        self.shift, self.flip, self.fake_weight = shift, flip, fake_weight

    def forward(self, seen: Pass) -> Tensor:
        moved = seen.judge(self.transformed(seen.real, seen.noise))
        penalty = self.weight * (seen.real_logits - moved).square()
        if self.fake_weight:
            moved = seen.judge(self.transformed(seen.fake, seen.noise))
            penalty = penalty + self.fake_weight * (seen.fake_logits - moved).square()
        return penalty

    def transformed(self, images: Tensor, noise: Noise) -> Tensor:
        """The images [B, C, H, W], each moved by up to `shift` pixels and, with `flip`, mirrored by a fair coin."""
        if self.flip:
            heads = noise.uniform((len(images), 1, 1, 1), images.device) < 0.5
            images = torch.where(heads, images.flip(-1), images)
        return random_shift(images, noise, self.shift)


class WeightClipping(Penalty):
    """After each update every weight is clamped to [-limit, limit] (Arjovsky et al. 2017, algorithm 1)."""

    def __init__(self, limit: float) -> None:
        super().__init__(weight=0.0)
        self.limit = limit

    def forward(self, seen: Pass) -> Tensor:
        return torch.zeros_like(seen.real_logits)

    @torch.no_grad()
    def after_update(self, discriminator: nn.Module) -> None:
        for parameter in discriminator.parameters():
            parameter.clamp_(-self.limit, self.limit)
