"""The filters, noise and cutout of adaptive discriminator augmentation (Karras et al. 2020, app. B).

Both filters are wavelets' scaling filters (Daubechies 1992): sym6 against aliasing where images are moved, sym2 to
split images into four bands of frequencies. All functions take images [B, C, H, W] and are differentiable to any
order.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.objectives import warping

SYM2 = [(number + sign * math.sqrt(3)) / math.sqrt(32) for number, sign in ((1, -1), (3, -1), (3, 1), (1, 1))]
SYM6 = [
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
]
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of the bands of natural images, lowest first: 1/f
MARGIN = 3  # pixels beyond the image on each side, half of the filter's reach


@cache
def _low_pass(device: torch.device, dtype: torch.dtype) -> Tensor:
    """sym6 with sum 1, [12]."""
    line = torch.tensor(SYM6, dtype=torch.float64)
    return (line / line.sum()).to(device, dtype)


def _along(line: Tensor, axis: int) -> Tensor:
    """A filter [k] along the rows (axis 3) or columns (axis 2) of an image: [1, 1, k, 1] or [1, 1, 1, k]."""
    return line.view(1, 1, -1, 1) if axis == 2 else line.view(1, 1, 1, -1)


def mirrored(images: Tensor, rows: int, columns: int) -> Tensor:
    """The images, with `rows` above and below and `columns` on each side mirrored at the outermost pixels."""
    for axis, more in ((2, rows), (3, columns)):
        size = images.shape[axis]
        at = torch.arange(-more, size + more, device=images.device)
        last = max(size - 1, 1)
        images = images.index_select(axis, (last - (at.remainder(2 * last) - last).abs()).clamp(max=size - 1))
    return images


def doubled(images: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C, 2H, 2W] with the low-pass filter sym6."""
    flat = images.flatten(0, 1).unsqueeze(1)
    line = 2 * _low_pass(images.device, images.dtype)
    for axis in (2, 3):
        stride, padding = ((2, 1), (5, 0)) if axis == 2 else ((1, 2), (0, 5))
        flat = F.conv_transpose2d(flat, _along(line, axis), stride=stride, padding=padding)
    return flat.view(*images.shape[:2], *flat.shape[2:])


def halved(images: Tensor) -> Tensor:
    """[B, C, 2H + 12, 2W + 12] to [B, C, H, W] with the mirrored filter, the inverse of `doubled`."""
    flat = images.flatten(0, 1).unsqueeze(1)[..., 1:-1, 1:-1]
    line = _low_pass(images.device, images.dtype)
    for axis in (2, 3):
        flat = F.conv2d(flat, _along(line, axis), stride=(2, 1) if axis == 2 else (1, 2))
    return flat.view(*images.shape[:2], *flat.shape[2:])


def filtered_warp(images: Tensor, inverse: Tensor) -> Tensor:
    """The images moved by the inverse of `inverse` [B, 3, 3], like `warping.warp`, without aliasing.

    The image is mirrored at its borders, doubled, moved with bilinear interpolation, and halved. The authors mirror
    only as many pixels as some image of the batch needs; here it is always a whole image, so that nothing waits for
    the device. The result is the same.
    """
    height, width = images.shape[2:]
    large = doubled(mirrored(images, height - 1, width - 1))
    ones = torch.ones(1, device=images.device)
    half, twice = (warping.scaling(factor * ones, factor * ones) for factor in (0.5, 2.0))
    there, back = (warping.translation(shift * ones, shift * ones) for shift in (-0.5, 0.5))
    inverse = there @ twice @ inverse @ half @ back  # the doubled image is half a pixel off
    return halved(warping.warp(large, inverse, (2 * (height + 2 * MARGIN), 2 * (width + 2 * MARGIN))))


@cache
def band_filters(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Filters [4, 43] whose sum is the identity; each passes one band of frequencies, the lowest first.

    Bands are split again and again at half of the remaining frequencies, by the squared magnitudes of sym2 and of its
    mirror image.
    """
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    low2, high2 = (_convolved(line, line.flip(0)) / 2 for line in (low, high))
    bank = torch.tensor([[1.0], [0.0], [0.0], [0.0]], dtype=torch.float64)
    for band in range(1, 4):
        spread = torch.zeros(4, 2 * bank.shape[1] - 1, dtype=torch.float64)
        spread[:, ::2] = bank
        bank = torch.stack([_convolved(row, low2) for row in spread])
        start = (bank.shape[1] - len(high2)) // 2
        bank[band, start : start + len(high2)] += high2
    return bank.to(device, dtype)


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a.view(1, 1, -1), b.flip(0).view(1, 1, -1), padding=len(b) - 1).flatten()


def band_gains(factors: Tensor) -> Tensor:
    """Gains [B, 4] from a factor on each band [B, 4]; each factor alone keeps the expected power of an image."""
    gains = torch.ones_like(factors)
    for band, share in enumerate(POWER):
        kept = (1 - share + share * factors[:, band].square()).sqrt()  # of the power, with this factor alone
        gains = gains / kept[:, None]
    return gains * factors


def amplified(images: Tensor, gains: Tensor) -> Tensor:
    """The images with the bands of each multiplied by its gains [B, 4]."""
    count, channels, height, width = images.shape
    lines = (
        (gains @ band_filters(gains.device, gains.dtype)).repeat_interleave(channels, dim=0).to(images.dtype)
    )  # [B C, k]
    reach = lines.shape[1] // 2
    flat = mirrored(images, reach, reach).view(1, count * channels, height + 2 * reach, width + 2 * reach)
    for shape in ((1, -1), (-1, 1)):
        flat = F.conv2d(flat, lines.view(count * channels, 1, *shape), groups=count * channels)
    return flat.view(images.shape)


def cut(images: Tensor, size: Tensor, x: Tensor, y: Tensor, fill: float) -> Tensor:
    """The images with a rectangle of `size` [B] of each side around (x, y), each [B] in [0, 1), set to `fill`."""
    inside = []
    for length, centre in zip(images.shape[2:], (y, x), strict=True):
        position = (torch.arange(length, device=images.device) + 0.5) / length
        inside.append((position - centre[:, None]).abs() < size[:, None] / 2)
    return torch.where(inside[0][:, None, :, None] & inside[1][:, None, None, :], fill, images)
