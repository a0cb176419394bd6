"""The transformations of adaptive discriminator augmentation (Karras et al. 2020, app. B), and their probability.

Positions and colours are changed by matrices (objectives/warping.py); its filters are in objectives/filtering.py.
"""

import math
import re

import torch
from torch import Tensor

from lightning_gen.distributed import mean_over_processes, rank_and_world
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.precision import full_precision, no_autocast
from lightning_gen.objectives import warping
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.augmentation import Augmentation, each
from lightning_gen.objectives.filtering import amplified, band_gains, cut, filtered_warp
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Fraction

GROUPS = ("blit", "geometry", "colour", "filter", "noise", "cutout")


class Draws:
    """The random numbers of one call, drawn at once: `uniform` and `normal` return the next [B], one per image.

    `happens` draws which images the next transformation is applied to, each with probability `p`.
    """

    def __init__(self, images: Tensor, noise: Noise, uniforms: int, normals: int) -> None:
        self._uniform = iter(noise.uniform((len(images), uniforms), images.device).unbind(dim=1))
        self._normal = iter(noise.normal((len(images), normals), images.device).unbind(dim=1))

    def uniform(self) -> Tensor:
        return next(self._uniform)

    def normal(self) -> Tensor:
        return next(self._normal)

    def happens(self, p: Tensor) -> Tensor:
        return self.uniform() < p


def chosen(happens: Tensor, matrix: Tensor) -> Tensor:
    """`matrix` [B, n, n] for the images where `happens` [B] is true, the identity for the others."""
    return torch.where(happens[:, None, None], matrix, torch.eye(matrix.shape[1], device=matrix.device))


def blit(draws: Draws, p: Tensor, height: int, width: int) -> Tensor:
    """The inverse of horizontal flips, quarter turns and whole-pixel translations of up to an eighth of each side."""
    flip = 1 - 2 * (draws.uniform() * 2).floor()
    inverse = chosen(draws.happens(p), warping.scaling(flip, torch.ones_like(flip)))
    turns = (draws.uniform() * 4).floor()
    cosine = (turns == 0).float() - (turns == 2).float()  # exact, so that pixels move to pixels
    sine = (turns == 3).float() - (turns == 1).float()
    inverse = inverse @ chosen(draws.happens(p), warping.rotation(cosine, sine))
    x, y = (((2 * draws.uniform() - 1) / 8 * size).round() for size in (width, height))
    return inverse @ chosen(draws.happens(p), warping.translation(-x, -y))


def geometry(draws: Draws, p: Tensor, height: int, width: int) -> Tensor:
    """The inverse of scaling, rotation, stretching, rotation, and translation by fractions of pixels."""

    def turn() -> Tensor:
        angle = (2 * draws.uniform() - 1) * math.pi
        happens = draws.happens(1 - (1 - p).clamp(0, 1).sqrt())  # two turns: p for at least one of them
        return chosen(happens, warping.rotation(angle.cos(), -angle.sin()))

    scale = torch.exp2(-0.2 * draws.normal())
    inverse = chosen(draws.happens(p), warping.scaling(scale, scale)) @ turn()
    stretch = torch.exp2(-0.2 * draws.normal())
    inverse = inverse @ chosen(draws.happens(p), warping.scaling(stretch, 1 / stretch)) @ turn()
    x, y = (draws.normal() / 8 * size for size in (width, height))
    return inverse @ chosen(draws.happens(p), warping.translation(-x, -y))


def colours(draws: Draws, p: Tensor) -> Tensor:
    """Matrices [B, 4, 4] that change brightness, contrast, luma, hue and saturation of colours in [-1, 1]."""
    matrix = chosen(draws.happens(p), warping.colour_translation(0.2 * draws.normal()))
    contrast = torch.exp2(0.5 * draws.normal())
    matrix = chosen(draws.happens(p), warping.colour_scaling(contrast, contrast)) @ matrix
    flip = 1 - 2 * (draws.uniform() * 2).floor()
    matrix = chosen(draws.happens(p), warping.colour_scaling(flip, torch.ones_like(flip))) @ matrix
    matrix = chosen(draws.happens(p), warping.hue_rotation((2 * draws.uniform() - 1) * math.pi)) @ matrix
    saturation = torch.exp2(draws.normal())
    return chosen(draws.happens(p), warping.colour_scaling(torch.ones_like(saturation), saturation)) @ matrix


class AdaptiveAugment(Augmentation):
    """Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with limited data", app. B).

    Each transformation of a group is applied to each image with probability `p` times the group's factor.

    Args:
        target: the value of r_t that `p` is steered to (eq. 1). r_t is the mean sign of the discriminator's logits on
            real images, relative to the loss's decision boundary, and averaged over about four batches as in the
            paper. None: no adaptation.
        speed_images: how many images it takes `p` to go from 0 to 1.
        groups: the factor of each group, 0 where it is missing: `blit` (flips, quarter turns, whole pixels),
            `geometry` (scaling, rotation, stretching, parts of pixels), `colour`, `filter` (gains of four bands of
            frequencies), `noise` and `cutout`.
        p: the probability at the start; without a target, always. It may then follow a schedule, as in R3GAN (Huang
            et al. 2024).
        low_pass: move images with the paper's filter against aliasing; False: with bilinear interpolation alone.
            Without geometry the moves keep all pixels and need no filter.

    Raises:
        UserError: all groups are 0, or an unknown one.
    """

    p: Tensor
    mean_sign: Tensor

    def __init__(
        self,
        target: float | None = 0.6,
        speed_images: Count = 500_000,
        groups: dict[str, Fraction] | None = None,
        p: Fraction = 0.0,
        low_pass: bool = True,
    ) -> None:
        super().__init__()
        groups = {"blit": 1.0, "geometry": 1.0, "colour": 1.0} if groups is None else groups
        for name in groups:
            if name not in GROUPS:
                raise UserError(f"model.augment.groups.{name}: use {', '.join(GROUPS)}.{did_you_mean(name, GROUPS)}")
        if not any(groups.values()):
            raise UserError("model.augment.groups are all 0: set one of them above 0, or model/augment=none.")
        self.groups = {name: float(groups.get(name, 0.0)) for name in GROUPS}
        self.target, self.speed_images, self.low_pass = target, speed_images, low_pass
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("mean_sign", torch.zeros(()))

    def forward(self, images: Tensor, noise: Noise) -> Tensor:
        if self.groups["colour"] and images.shape[1] not in (1, 3):
            raise UserError(
                f"model/augment=ada changes the colours of images with 1 or 3 channels; these have "
                f"{images.shape[1]}. Set model.augment.groups.colour=0."
            )
        dtype = full_precision(images).dtype
        with no_autocast(images):
            images = images.float()
            draws = Draws(images, noise, uniforms=21, normals=7)
            images = self.moved(images, draws)
            if self.groups["colour"]:
                matrix = colours(draws, self.p * self.groups["colour"])
                images = where_moved(matrix, (warping.recolour(2 * images - 1, matrix) + 1) / 2, images)
            return self.corrupted(images, noise).to(dtype)

    def moved(self, images: Tensor, draws: Draws) -> Tensor:
        """The images after the moves of the groups `blit` and `geometry`."""
        height, width = images.shape[2:]
        inverse = torch.eye(3, device=images.device).expand(len(images), -1, -1)
        if self.groups["blit"]:
            inverse = inverse @ blit(draws, self.p * self.groups["blit"], height, width)
        if self.groups["geometry"]:
            inverse = inverse @ geometry(draws, self.p * self.groups["geometry"], height, width)
        move = filtered_warp if self.low_pass and self.groups["geometry"] else warping.warp
        return where_moved(inverse, move(images, inverse), images)

    def corrupted(self, images: Tensor, noise: Noise) -> Tensor:
        """The images after the groups `filter`, `noise` and `cutout`, which draw their own random numbers."""
        if self.groups["filter"]:
            draws, p = Draws(images, noise, uniforms=4, normals=4), self.p * self.groups["filter"]
            factors = [torch.where(draws.happens(p), torch.exp2(draws.normal()), 1.0) for _ in range(4)]
            gains = torch.stack(factors, dim=1)
            same = each((gains == 1).all(dim=1))
            images = torch.where(same, images, (amplified(2 * images - 1, band_gains(gains)) + 1) / 2)
        if self.groups["noise"]:
            draws = Draws(images, noise, uniforms=1, normals=1)
            deviation = torch.where(draws.happens(self.p * self.groups["noise"]), 0.05 * draws.normal().abs(), 0.0)
            images = images + each(deviation) * noise.normal(images.shape, images.device).to(images.dtype)
        if self.groups["cutout"]:
            draws = Draws(images, noise, uniforms=3, normals=0)
            size = torch.where(draws.happens(self.p * self.groups["cutout"]), 0.5, 0.0)
            images = cut(images, size, draws.uniform(), draws.uniform(), fill=0.5)
        return images

    def check(self, loss: AdversarialLoss) -> None:
        """Raise a UserError if there is a target, but the loss has no decision boundary to count logits above."""
        if loss.threshold is None and self.target is not None:
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(loss).__name__).lower()
            raise UserError(
                f"model/augment=ada adapts its probability to how many real images the discriminator calls real, but "
                f"model/loss={name} has no boundary between real and generated: set model.augment.target=null with a "
                "fixed model.augment.p=0.2, or use model/augment=scheduled."
            )

    @torch.no_grad()
    def follow(self, real_logits: Tensor, boundary: float | None) -> dict[str, Tensor]:
        if self.target is not None and boundary is not None:
            sign = (real_logits - boundary).sign().mean().to(self.mean_sign)
            self.mean_sign.lerp_(mean_over_processes(sign), 0.25)
            images = len(real_logits) * rank_and_world()[1]
            self.p.add_((self.mean_sign - self.target).sign() * (images / self.speed_images)).clamp_(0, 1)
        return {"train/augment_p": self.p.clone()}


def where_moved(matrix: Tensor, moved: Tensor, images: Tensor) -> Tensor:
    """`moved` for the images whose matrix is not the identity; the others keep their exact values."""
    same = (matrix == torch.eye(matrix.shape[1], device=matrix.device)).flatten(1).all(dim=1)
    return torch.where(each(same), images, moved)
