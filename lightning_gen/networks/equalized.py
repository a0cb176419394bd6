"""The layers of StyleGAN2 (Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN").

They use an equalized learning rate (Karras et al. 2018, sec. 4.1): weights start with unit variance and are scaled by
He's constant when they are used, so that Adam changes all of them at the same relative speed. Initial weights and
scales belong together, so `networks.init` and `networks.spectral_norm` do not change these layers.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.networks import resampling
from lightning_gen.networks.graphs import exporting
from lightning_gen.networks.precision import full_precision

TAPS = (1, 3, 3, 1)


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, times sqrt(2), which keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def unit_moment(x: Tensor) -> Tensor:
    """Divide each row of x [B, D] by its root mean square."""
    x = full_precision(x)
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class EqualLinear(nn.Module):
    """A linear layer [B, in] to [B, out]; `rate` is a factor on the learning rate, `bias` the initial bias."""

    def __init__(self, in_features: int, out_features: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / rate)
        self.bias = nn.Parameter(torch.full((out_features,), bias))
        self.rate, self.scale = rate, rate / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualConv2d(nn.Module):
    """A convolution that keeps the resolution, or low-pass filters and halves it (`down`)."""

    def __init__(self, channels: int, out: int, kernel: int, down: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.scale, self.down = 1 / math.sqrt(channels * kernel**2), down
        self.register_buffer("kernel", resampling.kernel(TAPS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight, padding = self.weight * self.scale, self.weight.shape[2] // 2
        if not self.down:
            return F.conv2d(x, weight, self.bias, padding=padding)
        x = resampling.blur(x, self.kernel, padding + 1)  # type: ignore[arg-type]
        return F.conv2d(x, weight, self.bias, stride=2)


def modulate(weight: Tensor, styles: Tensor, demodulate: bool) -> Tensor:
    """Scale the weights [O, I, k, k] by the styles [B, I] of each image: [B, O, I, k, k], in float32 (eq. 1).

    `demodulate` divides each filter by its norm (eq. 3), so that inputs of unit variance give outputs of unit
    variance.
    """
    weights = full_precision(weight) * full_precision(styles)[:, None, :, None, None]
    if demodulate:
        weights = weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    return weights


def convolve_each(x: Tensor, weights: Tensor) -> Tensor:
    """Convolve each image of x [B, I, H, W] with its own filters [B, O, I, k, k], as one convolution in B groups."""
    count, out = weights.shape[:2]
    joined = x.reshape(1, -1, *x.shape[2:])
    result = F.conv2d(joined, weights.flatten(0, 1).to(x.dtype), padding=weights.shape[3] // 2, groups=count)
    return result.view(count, out, *result.shape[2:])


def double_each(x: Tensor, weights: Tensor, kernel: Tensor) -> Tensor:
    """Like `convolve_each`, with mirrored filters, on images doubled with a low-pass filter.

    Convolution and low-pass filter commute, so the transposed convolution can work at the lower resolution.
    """
    count, out = weights.shape[:2]
    joined = x.reshape(1, -1, *x.shape[2:])
    transposed = weights.transpose(1, 2).flatten(0, 1).to(x.dtype)  # [B * I, O, 3, 3]
    result = F.conv_transpose2d(joined, transposed, stride=2, groups=count)
    return resampling.blur(result.view(count, out, *result.shape[2:]), 4 * kernel, padding=1)


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a function of the style [B, style_dim]; see `modulate`."""

    def __init__(
        self, channels: int, out: int, kernel: int, style_dim: int, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(style_dim, channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel))
        self.demodulate, self.up = demodulate, up
        self.scale = 1.0 if demodulate else 1 / math.sqrt(channels * kernel**2)
        self.register_buffer("kernel", resampling.kernel(TAPS), persistent=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        styles = self.affine(style) * self.scale
        if exporting():
            return self.shared(x, styles)
        weights = modulate(self.weight, styles, self.demodulate)
        return double_each(x, weights, self.kernel) if self.up else convolve_each(x, weights)  # type: ignore[arg-type]

    def shared(self, x: Tensor, styles: Tensor) -> Tensor:
        """The same, with the filters that all images share: scales the inputs, and the outputs by the norms.

        An exported graph needs it, in which the number of groups of a convolution cannot depend on the batch.
        """
        weight = full_precision(self.weight)
        x = x * styles.to(x)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1).to(x), stride=2)
            x = resampling.blur(x, 4 * self.kernel, padding=1)  # type: ignore[arg-type,operator]
        else:
            x = F.conv2d(x, weight.to(x), padding=weight.shape[3] // 2)
        if not self.demodulate:
            return x
        squares = full_precision(styles).square() @ weight.square().sum(dim=(2, 3)).T  # [B, O]
        return x * (squares + 1e-8).rsqrt().to(x)[:, :, None, None]


class MinibatchStd(nn.Module):
    """Append one channel with the standard deviation over a group of images, averaged over channels and pixels.

    A group has the largest number of images, at most `group`, that divides the batch (Karras et al. 2018, sec. 3).
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        group = next(size for size in range(min(self.group, count), 0, -1) if count % size == 0)
        grouped = full_precision(x).unflatten(0, (group, -1))  # [G, B / G, C, H, W]
        deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [B / G]
        channel = deviation.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel.to(x.dtype)], dim=1)
