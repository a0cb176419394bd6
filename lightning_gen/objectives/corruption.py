"""Corruptions of a denoising autoencoder's input, and shifts of its images.

Each takes values in [0, 1], [B, ...], and the noise of the training step, which gives U[0, 1) and N(0, 1) in a
shape; `amount` is how much. They leave their argument as it is.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.data.transforms import random_window
from lightning_gen.randomness import Noise


def masking(values: Tensor, noise: Noise, amount: float) -> Tensor:
    """Each value is set to 0 with probability `amount` (Vincent et al. 2010, sec. 3.3)."""
    return values * (noise.uniform(values.shape, values.device) >= amount)


def gaussian(values: Tensor, noise: Noise, amount: float) -> Tensor:
    """Adds N(0, amount^2) (Vincent et al. 2010, sec. 3.3); the result is not clipped."""
    return values + amount * noise.normal(values.shape, values.device)


def salt_and_pepper(values: Tensor, noise: Noise, amount: float) -> Tensor:
    """Each value becomes 0 or 1, by a fair coin, with probability `amount` (Vincent et al. 2010, sec. 3.3)."""
    draw = noise.uniform(values.shape, values.device)
    return torch.where(draw < amount, (draw < amount / 2).to(values.dtype), values)


def random_shift(images: Tensor, noise: Noise, pixels: int | tuple[int, int], padding: str = "constant") -> Tensor:
    """Moves each image [B, C, H, W] by a whole number of pixels, uniform in [-pixels, pixels] on each axis.

    `pixels` may differ for the vertical and the horizontal. What comes in at the border is 0, or with `padding`
    "reflect" the image mirrored at its outermost pixels. Not a corruption: the shifted image is input and target.
    """
    y, x = (pixels, pixels) if isinstance(pixels, int) else pixels
    height, width = images.shape[-2:]
    return random_window(F.pad(images, [x, x, y, y], mode=padding), (height, width), noise)
