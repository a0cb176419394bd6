"""Penalties on a discriminator's logits: on their distance from past ones, and from those of changed images."""

from typing import Literal

import torch
from torch import Tensor

from lightning_gen.distributed import mean_over_processes
from lightning_gen.errors import UserError
from lightning_gen.objectives.corruption import random_shift
from lightning_gen.objectives.penalties import DiscriminatorPass, Penalty
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Decay, Natural, NonNegative


class LeCam(Penalty):
    """weight (max(0, D(x) - a_F)^2 + max(0, a_R - D(G(z)))^2), a: running means of the logits on the other side.

    (Tseng et al. 2021, eq. 6 with the positive parts of the authors' code.) The paper's formula has the whole
    distances: `rectified=False`. The means have the paper's `decay`; `debias` corrects them for their start at 0,
    as in the authors' code for StyleGAN2. Their code for BigGAN has a decay of 0.9 and begins after 1,000 steps.
    """

    anchors: Tensor
    updates: Tensor

    def __init__(
        self,
        weight: NonNegative,
        interval: Count = 1,
        decay: Decay = 0.99,
        rectified: bool = True,
        debias: bool = True,
    ) -> None:
        super().__init__(weight, interval)
        self.decay, self.rectified, self.debias = decay, rectified, debias
        self.register_buffer("anchors", torch.zeros(2))  # of the logits on real and on generated images
        if debias:
            self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        now = torch.stack([seen.real_logits.detach().mean(), seen.fake_logits.detach().mean()])
        self.anchors.lerp_(mean_over_processes(now).to(self.anchors), 1 - self.decay)
        anchors = self.anchors
        if self.debias:
            self.updates += 1
            anchors = anchors / (1 - self.decay ** self.updates.to(anchors))
        real, fake = anchors.to(seen.real_logits).unbind()
        above, below = seen.real_logits - fake, real - seen.fake_logits
        if self.rectified:
            above, below = above.clamp(min=0), below.clamp(min=0)
        return self.weight * (above.square() + below.square())


class Consistency(Penalty):
    """weight (D(x) - D(T(x)))^2, T a random shift and flip of the image (Zhang et al. 2020, eq. 3).

    What a shift brings in at the border is the mirrored image, as in StudioGAN, or 0 with `padding` zeros; the paper
    does not say. `fake_weight`: the same on generated images, as in balanced consistency (Zhao et al. 2021, algorithm
    1); 0: not. `flip`: false for images that a mirror turns into something else, such as digits.

    Raises:
        UserError: a shift that an image is too small to be mirrored for.
    """

    images_only = True

    def __init__(
        self,
        weight: NonNegative,
        interval: Count = 1,
        shift: Natural = 2,
        flip: bool = False,
        fake_weight: NonNegative = 0.0,
        padding: Literal["reflect", "zeros"] = "reflect",
    ) -> None:
        super().__init__(weight, interval)
        self.shift, self.flip, self.fake_weight = shift, flip, fake_weight
        self.padding = "constant" if padding == "zeros" else padding

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        moved = seen.judge(self.transformed(seen.real, seen.noise))
        penalty = self.weight * (seen.real_logits - moved).square()
        if self.fake_weight:
            moved = seen.judge(self.transformed(seen.fake, seen.noise))
            penalty = penalty + self.fake_weight * (seen.fake_logits - moved).square()
        return penalty

    def transformed(self, images: Tensor, noise: Noise) -> Tensor:
        """The images [B, C, H, W], each moved by up to `shift` pixels and, with `flip`, mirrored by a fair coin."""
        if self.padding == "reflect" and self.shift >= min(images.shape[2:]):
            raise UserError(
                f"model.penalty.consistency.shift={self.shift} must be below the sides of the images, "
                f"{images.shape[2]}x{images.shape[3]}."
            )
        if self.flip:
            heads = noise.uniform((len(images), 1, 1, 1), images.device) < 0.5
            images = torch.where(heads, images.flip(-1), images)
        return random_shift(images, noise, self.shift, self.padding)
