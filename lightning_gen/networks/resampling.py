"""Double and halve images with a small low-pass filter, each as one depthwise convolution.

`taps` is the filter along one axis: [1, 2, 1] (bilinear), or [1, 3, 3, 1] as in StyleGAN2 (Karras et al. 2020,
"Analyzing and improving the image quality of StyleGAN"). Images are padded with zeros, so a constant image stays
constant except near its border.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def kernel(taps: Sequence[float]) -> Tensor:
    """The separable filter [k, k] with sum 1."""
    line = torch.tensor(taps, dtype=torch.float32)
    return torch.outer(line, line) / line.sum().square()


def double(x: Tensor, kernel: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C, 2H, 2W]: insert zeros between the pixels, then apply four times the filter [k, k]."""
    height, width = 2 * x.shape[2], 2 * x.shape[3]
    channels, before = x.shape[1], (len(kernel) - 2) // 2
    weight = (4 * kernel.to(x.dtype)).expand(channels, 1, -1, -1)
    full = F.conv_transpose2d(x, weight, stride=2, groups=channels)
    return full[:, :, before : before + height, before : before + width]


def halve(x: Tensor, kernel: Tensor) -> Tensor:
    """[B, C, 2H, 2W] to [B, C, H, W]: apply the filter [k, k], then keep every second pixel."""
    channels, after = x.shape[1], (len(kernel) - 2) // 2
    before = len(kernel) - 2 - after
    weight = kernel.to(x.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(x, [before, after, before, after]), weight, stride=2, groups=channels)


def blur(x: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """Pad x [B, C, H, W] with `padding` zeros on each side and filter it: [B, C, H + 2 padding - k + 1, ...]."""
    channels = x.shape[1]
    return F.conv2d(x, kernel.to(x.dtype).expand(channels, 1, -1, -1), padding=padding, groups=channels)
