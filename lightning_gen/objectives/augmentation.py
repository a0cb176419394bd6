"""Differentiable augmentation of a discriminator's images, real and generated, to train on small data sets.

An augmentation maps images [B, C, H, W] in [0, 1] to images of the same shape, which are not clamped. It is
differentiable to any order with respect to the images. All random numbers come from the noise of the training step.
"""

import math
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_gen.distributed import mean_over_processes, rank_and_world
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.precision import FullPrecision, no_autocast
from lightning_gen.objectives import warping
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.corruption import random_shift
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Fraction


def _each(draw: Tensor) -> Tensor:
    return draw[:, None, None, None]


def color(images: Tensor, noise: Noise) -> Tensor:
    """Adds U[-0.25, 0.25) to the brightness; scales the saturation by U[0, 2) and the contrast by U[0.5, 1.5)."""
    brightness, saturation, contrast = noise.uniform((len(images), 3), images.device).unbind(dim=1)
    images = images + _each(brightness - 0.5) / 2
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * _each(2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * _each(contrast + 0.5)


def translation(images: Tensor, noise: Noise) -> Tensor:
    """Moves each image by up to an eighth of each side, in whole pixels, and fills the border with grey."""
    most = [int(size / 8 + 0.5) for size in images.shape[2:]]
    return random_shift(images - 0.5, noise, (most[0], most[1])) + 0.5


def cutout(images: Tensor, noise: Noise) -> Tensor:
    """Fills a rectangle with grey: half of each side, rounded, with its centre anywhere in the image."""
    inside = []
    draws = noise.uniform((len(images), 2), images.device).unbind(dim=1)
    for size, draw in zip(images.shape[2:], draws, strict=True):
        length = int(size / 2 + 0.5)
        start = (draw * (size + 1 - length % 2)).floor().unsqueeze(1) - length // 2  # [B, 1]
        position = torch.arange(size, device=images.device)
        inside.append((position >= start) & (position < start + length))  # [B, size]
    hidden = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(hidden, 0.5, images)


POLICIES: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


class Augmentation(FullPrecision):
    """No augmentation, and the base class of the others, which may adapt to the discriminator's logits."""

    def forward(self, images: Tensor, noise: Noise) -> Tensor:
        """Augmented images [B, C, H, W]; here the images themselves."""
        return images

    def check(self, loss: AdversarialLoss) -> None:
        """Raise a UserError if the augmentation cannot be used with this loss."""

    def follow(self, real_logits: Tensor, boundary: float | None) -> dict[str, Tensor]:
        """Adapt to the logits [B] on augmented real images; returns scalars to log. Every process must call this.

        `boundary`: the loss's decision boundary, if it has one.
        """
        return {}


class DiffAugment(Augmentation):
    """DiffAugment: applies every transformation of a policy to every image (Zhao et al. 2020, sec. 3.3).

    `policy`: some of `color`, `translation` and `cutout`, applied in the order given, which is this one in the paper.
    The paper fills with 0, the grey of images in [-1, 1]; here it is 0.5.

    Raises:
        UserError: an unknown name in `policy`.
    """

    def __init__(self, policy: Sequence[str]) -> None:
        super().__init__()
        for name in policy:
            if name not in POLICIES:
                known = ", ".join(POLICIES)
                raise UserError(
                    f"model.augment.policy: {name} does not exist. Use some of {known}.{did_you_mean(name, POLICIES)}"
                )
        self.policy = [POLICIES[name] for name in policy]

    def forward(self, images: Tensor, noise: Noise) -> Tensor:
        for augment in self.policy:
            images = augment(images, noise)
        return images


class Draws:
    """The random numbers of one call, drawn at once: `uniform` and `normal` return the next [B], one per image.

    `happens` draws which images the next transformation is applied to, each with probability `p`.
    """

    def __init__(self, images: Tensor, noise: Noise, uniforms: int, normals: int, p: Tensor) -> None:
        self.p = p
        self._uniform = iter(noise.uniform((len(images), uniforms), images.device).unbind(dim=1))
        self._normal = iter(noise.normal((len(images), normals), images.device).unbind(dim=1))

    def uniform(self) -> Tensor:
        return next(self._uniform)

    def normal(self) -> Tensor:
        return next(self._normal)

    def happens(self, p: Tensor | None = None) -> Tensor:
        return self.uniform() < (self.p if p is None else p)


def chosen(happens: Tensor, matrix: Tensor) -> Tensor:
    """`matrix` [B, n, n] for the images where `happens` [B] is true, the identity for the others."""
    return torch.where(happens[:, None, None], matrix, torch.eye(matrix.shape[1], device=matrix.device))


def blit(draws: Draws, height: int, width: int) -> Tensor:
    """The inverse of horizontal flips, quarter turns and whole-pixel translations of up to an eighth of each side."""
    flip = 1 - 2 * (draws.uniform() * 2).floor()
    inverse = chosen(draws.happens(), warping.scaling(flip, torch.ones_like(flip)))
    turns = (draws.uniform() * 4).floor()
    cosine = (turns == 0).float() - (turns == 2).float()  # exact, so that pixels move to pixels
    sine = (turns == 3).float() - (turns == 1).float()
    inverse = inverse @ chosen(draws.happens(), warping.rotation(cosine, sine))
    x, y = (((2 * draws.uniform() - 1) / 8 * size).round() for size in (width, height))
    return inverse @ chosen(draws.happens(), warping.translation(-x, -y))


def geometry(draws: Draws, height: int, width: int) -> Tensor:
    """The inverse of scaling, rotation, stretching, rotation, and translation by fractions of pixels."""

    def turn() -> Tensor:
        angle = (2 * draws.uniform() - 1) * math.pi
        happens = draws.happens(1 - (1 - draws.p).clamp(0, 1).sqrt())  # two turns: p for at least one of them
        return chosen(happens, warping.rotation(angle.cos(), -angle.sin()))

    scale = torch.exp2(-0.2 * draws.normal())
    inverse = chosen(draws.happens(), warping.scaling(scale, scale)) @ turn()
    stretch = torch.exp2(-0.2 * draws.normal())
    inverse = inverse @ chosen(draws.happens(), warping.scaling(stretch, 1 / stretch)) @ turn()
    x, y = (draws.normal() / 8 * size for size in (width, height))
    return inverse @ chosen(draws.happens(), warping.translation(-x, -y))


def colours(draws: Draws) -> Tensor:
    """Matrices [B, 4, 4] that change brightness, contrast, luma, hue and saturation of colours in [-1, 1]."""
    matrix = chosen(draws.happens(), warping.colour_translation(0.2 * draws.normal()))
    contrast = torch.exp2(0.5 * draws.normal())
    matrix = chosen(draws.happens(), warping.colour_scaling(contrast, contrast)) @ matrix
    flip = 1 - 2 * (draws.uniform() * 2).floor()
    matrix = chosen(draws.happens(), warping.colour_scaling(flip, torch.ones_like(flip))) @ matrix
    matrix = chosen(draws.happens(), warping.hue_rotation((2 * draws.uniform() - 1) * math.pi)) @ matrix
    saturation = torch.exp2(draws.normal())
    return chosen(draws.happens(), warping.colour_scaling(torch.ones_like(saturation), saturation)) @ matrix


class AdaptiveAugment(Augmentation):
    """Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with limited data", app. B).

    Each transformation is applied to each image with probability `p`. The paper uses filters against aliasing; this
    implementation interpolates bilinearly.

    Args:
        target: the value of r_t that `p` is steered to (eq. 1). r_t is the mean sign of the discriminator's logits on
            real images, relative to the loss's decision boundary, and averaged over about four batches as in the
            paper. None: no adaptation.
        speed_images: how many images it takes `p` to go from 0 to 1.
        transformations: some of the letters b (moves that keep pixels), g (geometry) and c (colours).
        p: the probability at the start; without a target, always. It may then follow a schedule, as in R3GAN (Huang
            et al. 2024).

    Raises:
        UserError: other letters in `transformations`.
    """

    p: Tensor
    mean_sign: Tensor

    def __init__(
        self,
        target: float | None = 0.6,
        speed_images: Count = 500_000,
        transformations: str = "bgc",
        p: Fraction = 0.0,
    ) -> None:
        super().__init__()
        if not transformations or set(transformations) - set("bgc"):
            raise UserError(f"model.augment.transformations={transformations}: use some of the letters b, g and c.")
        self.target, self.speed_images, self.transformations = target, speed_images, transformations
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("mean_sign", torch.zeros(()))

    def forward(self, images: Tensor, noise: Noise) -> Tensor:
        if "c" in self.transformations and images.shape[1] not in (1, 3):
            raise UserError(
                f"model/augment=ada changes the colours of images with 1 or 3 channels; these have "
                f"{images.shape[1]}. Set model.augment.transformations=bg."
            )
        draws = Draws(images, noise, uniforms=21, normals=7, p=self.p)
        height, width = images.shape[2:]
        with no_autocast(images):
            images = images.float()
            inverse = torch.eye(3, device=images.device).expand(len(images), -1, -1)
            if "b" in self.transformations:
                inverse = inverse @ blit(draws, height, width)
            if "g" in self.transformations:
                inverse = inverse @ geometry(draws, height, width)
            images = where_moved(inverse, warping.warp(images, inverse), images)
            if "c" in self.transformations:
                matrix = colours(draws)
                images = where_moved(matrix, (warping.recolour(2 * images - 1, matrix) + 1) / 2, images)
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
            sign = (real_logits.float() - boundary).sign().mean()
            self.mean_sign.lerp_(mean_over_processes(sign), 0.25)
            images = len(real_logits) * rank_and_world()[1]
            self.p.add_((self.mean_sign - self.target).sign() * (images / self.speed_images)).clamp_(0, 1)
        return {"train/augment_p": self.p.clone()}


def where_moved(matrix: Tensor, moved: Tensor, images: Tensor) -> Tensor:
    """`moved` for the images whose matrix is not the identity; the others keep their exact values."""
    same = (matrix == torch.eye(matrix.shape[1], device=matrix.device)).flatten(1).all(dim=1)
    return torch.where(_each(same), images, moved)
