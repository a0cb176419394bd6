"""Penalties on a discriminator's logits: distance from past logits, and from the logits of transformed images."""

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
    """LeCam: weight (max(0, D(x) - a_F)^2 + max(0, a_R - D(G(z)))^2) (Tseng et al. 2021, eq. 6).

    a_R and a_F are exponential moving averages of the logits on real and on generated images. The default of `decay`
    is the paper's. The authors' code for BigGAN has a decay of 0.9 and starts after 1,000 steps.

    Args:
        rectified: take the positive part of each distance, as in the authors' code; the paper's formula does not.
        debias: correct the averages for their start at 0, as in the authors' code for StyleGAN2.
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
        self.register_buffer("anchors", torch.zeros(2))  # averages of the logits on real and on generated images
        if debias:
            self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, seen: DiscriminatorPass) -> Tensor:
        now = torch.stack([seen.real_logits.detach().mean(), seen.fake_logits.detach().mean()])
        self.anchors.lerp_(mean_over_processes(now).to(self.anchors), 1 - self.decay)
        anchors = self.anchors
        if self.debias:
            self.updates.add_(1)
            anchors = anchors / (1 - self.decay ** self.updates.to(anchors))
        real, fake = anchors.to(seen.real_logits).unbind()
        above, below = seen.real_logits - fake, real - seen.fake_logits
        if self.rectified:
            above, below = above.clamp(min=0), below.clamp(min=0)
        return self.weight * (above.square() + below.square())


class Consistency(Penalty):
    """Consistency: weight (D(x) - D(T(x)))^2 with T a random shift and flip of the image (Zhang et al. 2020, eq. 3).

    Args:
        shift: the largest shift, in pixels.
        flip: mirror half of the images; false for images whose mirror image means something else, such as digits.
        fake_weight: the weight of the same term on generated images, as in balanced consistency (Zhao et al. 2021,
            algorithm 1).
        padding: what fills the border: the mirrored image, as in StudioGAN, or zeros. The paper does not say.

    Raises:
        UserError: in `transformed`, images too small to be mirrored by `shift` pixels.
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
        """Images [B, C, H, W], each shifted by up to `shift` pixels and, with `flip`, mirrored half of the time."""
        if self.padding == "reflect" and self.shift >= min(images.shape[2:]):
            raise UserError(
                f"model.penalty.consistency.shift={self.shift} must be smaller than the sides of the images, which "
                f"are {images.shape[2]}x{images.shape[3]}."
            )
        if self.flip:
            heads = noise.uniform((len(images), 1, 1, 1), images.device) < 0.5
            images = torch.where(heads, images.flip(-1), images)
        return random_shift(images, noise, self.shift, self.padding)
