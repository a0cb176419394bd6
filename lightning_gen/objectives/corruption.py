"""Corruptions of a denoising autoencoder's input, and random shifts.

A corruption takes values in [0, 1] [B, ...], the noise of the training step and its strength `amount`. It does not
change its argument.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.data.transforms import random_window
from lightning_gen.randomness import Noise


def masking(values: Tensor, noise: Noise, amount: float) -> Tensor:
    """Sets each value to 0 with probability `amount` (Vincent et al. 2010, sec. 3.3)."""
    return values * (noise.uniform(values.shape, values.device) >= amount)


def gaussian(values: Tensor, noise: Noise, amount: float) -> Tensor:
    """Adds N(0, amount^2) (Vincent et al. 2010, sec. 3.3); the result is not clipped."""
    return values + amount * noise.normal(values.shape, values.device)


def salt_and_pepper(values: Tensor, noise: Noise, amount: float) -> Tensor:
    """Replaces each value, with probability `amount`, by 0 or 1 with equal chance (Vincent et al. 2010, sec. 3.3)."""
    draw = noise.uniform(values.shape, values.device)
    return torch.where(draw < amount, (draw < amount / 2).to(values.dtype), values)


def random_shift(images: Tensor, noise: Noise, pixels: int | tuple[int, int], padding: str = "constant") -> Tensor:
    """Moves each image [B, C, H, W] by a whole number of pixels, uniform in [-pixels, pixels] on each axis.

    `pixels`: one number, or the vertical and the horizontal one. The border is filled with 0, or with `padding`
    "reflect" with the image mirrored at its outermost pixels. This is not a corruption: the shifted image is both
    input and target.
    """
    y, x = (pixels, pixels) if isinstance(pixels, int) else pixels
    height, width = images.shape[-2:]
    return random_window(F.pad(images, [x, x, y, y], mode=padding), (height, width), noise)
