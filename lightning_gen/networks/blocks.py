"""Residual blocks for convolutional GANs, with class-conditional normalization (Miyato et al. 2018, app. B.4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.networks.conv import normalization
from lightning_gen.networks.precision import no_autocast


def split_labels(latents: Tensor, num_classes: int) -> tuple[Tensor, Tensor | None]:
    """Split a latent [B, Z + K] into its code [B, Z] and its one-hot label [B, K], which is None if K = 0."""
    if not num_classes:
        return latents, None
    return latents[:, :-num_classes], latents[:, -num_classes:]


class ConditionalNorm(nn.Module):
    """Batch norm whose gain 1 + A c and bias B c are linear in a condition c [B, D] (de Vries et al. 2017).

    With D = 0 it is the plain normalization `kind`, with a learned gain and bias.
    """

    def __init__(self, channels: int, condition_dim: int = 0, kind: str = "batch") -> None:
        super().__init__()
        self.norm = normalization(kind, channels, affine=not condition_dim)
        self.gain = self.bias = None
        if condition_dim:
            self.gain = nn.Linear(condition_dim, channels, bias=False)
            self.bias = nn.Linear(condition_dim, channels, bias=False)
            for layer in (self.gain, self.bias):  # near the identity; spectral norm cannot scale weights of 0
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        x = self.norm(x)
        if self.gain is None or self.bias is None:
            return x
        return x * (1 + self.gain(condition))[:, :, None, None] + self.bias(condition)[:, :, None, None]


class UpBlock(nn.Module):
    """Residual block that doubles the resolution.

    Norm, ReLU, nearest-neighbour x2, conv 3x3, norm, ReLU, conv 3x3; shortcut: conv 1x1, nearest-neighbour x2.
    """

    def __init__(self, channels: int, out: int, condition_dim: int = 0, norm: str = "batch") -> None:
        super().__init__()
        self.norm1 = ConditionalNorm(channels, condition_dim, norm)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm2 = ConditionalNorm(out, condition_dim, norm)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        y = self.conv1(double(F.relu(self.norm1(x, condition))))
        y = self.conv2(F.relu(self.norm2(y, condition)))
        return y + double(self.shortcut(x))  # before doubling, the 1x1 convolution costs a quarter


class DownBlock(nn.Module):
    """Residual block that halves the resolution if `down`.

    ReLU, conv 3x3, ReLU, conv 3x3, mean pooling if `down`; shortcut: mean pooling, conv 1x1. The block on the image
    (`first`) has no ReLU at its start. A block that keeps resolution and width has the identity as its shortcut. The
    ReLUs are not in place: otherwise the shortcut would receive ReLU(x), which is a different network.
    """

    def __init__(self, channels: int, out: int, down: bool = True, first: bool = False) -> None:
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut: nn.Module = nn.Conv2d(channels, out, 1) if down or channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.down:
            return y + self.shortcut(x)
        return F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))  # pooling commutes with the 1x1 convolution


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by two, [B, C, H, W] to [B, C, 2H, 2W]."""
    with no_autocast(x):  # on a GPU autocast would convert to float32, for copies and, backwards, sums of four
        return F.interpolate(x, scale_factor=2, mode="nearest")


class Attention(nn.Module):
    """Self-attention over positions: x + gamma attention(x), with keys and values pooled 2x2.

    As in BigGAN (Zhang et al. 2019, "Self-attention generative adversarial networks"). gamma starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        keys, values = max(channels // 8, 1), max(channels // 2, 1)
        self.query = nn.Conv2d(channels, keys, 1, bias=False)
        self.key = nn.Conv2d(channels, keys, 1, bias=False)
        self.value = nn.Conv2d(channels, values, 1, bias=False)
        self.out = nn.Conv2d(values, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # [B, C / 8, HW]
        key, value = (F.max_pool2d(part(x), 2).flatten(2) for part in (self.key, self.value))  # [B, ., HW / 4]
        weights = (query.mT @ key).softmax(dim=2)  # not the fused attention, which has no second derivative
        seen = (value @ weights.mT).unflatten(2, x.shape[2:])  # [B, C / 2, H, W]
        return x + self.gamma * self.out(seen)
