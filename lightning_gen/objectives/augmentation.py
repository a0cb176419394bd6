"""Differentiable augmentation of a discriminator's images, real and generated, to train on small data sets.

An augmentation maps images [B, C, H, W] in [0, 1] to images of the same shape, which are not clamped. It is
differentiable to any order with respect to the images. All random numbers come from the noise of the training step.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.precision import FullPrecision
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.corruption import random_shift
from lightning_gen.randomness import Noise


def each(draw: Tensor) -> Tensor:
    return draw[:, None, None, None]


def color(images: Tensor, noise: Noise) -> Tensor:
    """Adds U[-0.25, 0.25) to the brightness; scales the saturation by U[0, 2) and the contrast by U[0.5, 1.5)."""
    brightness, saturation, contrast = noise.uniform((len(images), 3), images.device).unbind(dim=1)
    images = images + each(brightness - 0.5) / 2
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * each(2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * each(contrast + 0.5)


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
