"""Synthetic sprites with known factors of variation, after dSprites (Matthey et al. 2017): nothing to download."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_gen.data.imageset import Decoding, ImageSet, Splits

FACTORS = {"shape": 3, "scale": 4, "orientation": 6, "x": 8, "y": 8}
"""Number of values of each factor; all combinations are 4,608 images. Only `shape` is categorical."""
CATEGORICAL = ("shape",)
HELD_OUT = 921  # a fifth of the 4,608


def sprites(decoding: Decoding) -> Splits:
    """Every combination of shape, scale, orientation and position once, 32x32: 3,687 training and 921 test images.

    The split is drawn with seed 0. There are no class labels: a classifier of shapes would learn to ignore the other
    factors, and so would a distance in its features.
    """
    images, factors = draw()
    categorical = tuple(index for index, name in enumerate(FACTORS) if name in CATEGORICAL)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    whole = ImageSet(images, factors=factors, categorical=categorical)
    return Splits(train=whole.subset(order[HELD_OUT:]), test=whole.subset(order[:HELD_OUT]))


def draw(size: int = 32, chunk: int = 512) -> tuple[Tensor, Tensor]:
    """White shapes on black: a square, ellipse or triangle at every scale, orientation and position, once each.

    Orientations span a quarter turn, so that no shape looks the same at two of them.

    Args:
        size: side of an image in pixels.
        chunk: images drawn at a time.

    Returns:
        Images uint8 [4608, 1, size, size] and factors int64 [4608, 5], in the order of ``FACTORS``.
    """
    factors = torch.cartesian_prod(*(torch.arange(count) for count in FACTORS.values()))
    images = torch.cat([_draw(part, size) for part in factors.split(chunk)])
    return images, factors


def _draw(factors: Tensor, size: int) -> Tensor:
    # Pixel centres in [-1, 1], shifted and rotated into each sprite's frame: [N, size, size].
    grid = (torch.arange(size) + 0.5) / size * 2 - 1
    shape, scale, orientation, x, y = factors.T
    radius = (0.2 + 0.08 * scale)[:, None, None]
    angle = (orientation * (math.pi / 2 / FACTORS["orientation"]))[:, None, None]
    left = grid[None, None, :] - ((x / (FACTORS["x"] - 1) - 0.5) * 0.9)[:, None, None]
    up = grid[None, :, None] - ((y / (FACTORS["y"] - 1) - 0.5) * 0.9)[:, None, None]
    u, v = left * angle.cos() + up * angle.sin(), up * angle.cos() - left * angle.sin()
    # Signed distance to the edge (approximate for the ellipse), positive inside.
    square = radius * 0.85 - torch.maximum(u.abs(), v.abs())
    ellipse = (1 - ((u / radius).square() + (v / (radius * 0.5)).square()).sqrt()) * radius * 0.5
    sides = [u * math.cos(turn) + v * math.sin(turn) for turn in (math.pi / 2, math.pi * 7 / 6, -math.pi / 6)]
    triangle = radius * 0.6 - torch.stack(sides).amax(0)
    inside = torch.stack([square, ellipse, triangle]).gather(0, shape.view(1, -1, 1, 1).expand(1, -1, size, size))
    coverage = (inside[0] * size / 2 + 0.5).clamp(0, 1)  # edges are antialiased over one pixel
    return (coverage * 255).round().to(torch.uint8)[:, None]
