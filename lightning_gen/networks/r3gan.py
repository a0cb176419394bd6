"""The networks of R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!"): residual, without normalization.

Initial weights follow Fixup (Zhang et al. 2019): the last convolution of each block starts at 0, the others with He's
variance times L^(-1/2) for L blocks in total.

The filter that doubles and halves has the taps [1, 3, 3, 1]: the authors' configs name [1, 2, 1], which their code
convolves with [1, 1], so that its size is even and nothing shifts.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.errors import UserError
from lightning_gen.networks import resampling
from lightning_gen.networks.blocks import split_labels
from lightning_gen.networks.conditioning import Projection
from lightning_gen.networks.shapes import ImageShape, halvings

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # a leaky ReLU then keeps the variance
TAPS = (1, 3, 3, 1)


def scaled(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Draw the weights of the layer from N(0, gain^2 / fan in), and return it."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))
    return layer


def convolution(channels: int, out: int, kernel: int = 1, groups: int = 1, gain: float = 1.0) -> nn.Module:
    """A convolution without bias that keeps the resolution."""
    return scaled(nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=False), gain)


class BiasedLeakyReLU(nn.Module):
    """Leaky ReLU of x plus a bias per channel; the convolutions before it have no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], SLOPE)


class Block(nn.Module):
    """Residual block x + f(x): conv 1x1 to `expansion` times the channels, grouped conv 3x3, conv 1x1 back.

    `gain` scales the initial weights of the first two convolutions; the last starts at 0.
    """

    def __init__(self, channels: int, group_width: int, expansion: int, gain: float) -> None:
        super().__init__()
        inner = channels * expansion
        groups = max(inner // group_width, 1)
        if inner % groups:
            raise UserError(
                f"networks=r3gan: widths={channels} times expansion={expansion} must be a multiple of "
                f"group_width={group_width}."
            )
        last = convolution(inner, channels)
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        self.net = nn.Sequential(
            convolution(channels, inner, gain=gain),
            BiasedLeakyReLU(inner),
            convolution(inner, inner, 3, groups, gain),
            BiasedLeakyReLU(inner),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class Resample(nn.Module):
    """Double or halve the resolution with the filter `taps`.

    Changes the number of channels, where needed, at the lower resolution.
    """

    def __init__(self, channels: int, out: int, up: bool, taps: Sequence[float]) -> None:
        super().__init__()
        self.up = up
        self.conv = convolution(channels, out) if channels != out else nn.Identity()
        self.register_buffer("kernel", resampling.kernel(taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        return resampling.double(self.conv(x), kernel) if self.up else self.conv(resampling.halve(x, kernel))


def stage_widths(image_shape: ImageShape, widths: int | Sequence[int], part: str) -> list[int]:
    """One width per resolution, lowest first; a single number holds for all.

    Raises:
        UserError: the list has another length than there are resolutions.
    """
    depth = halvings(image_shape, network="r3gan")
    if isinstance(widths, int):
        return [widths] * (depth + 1)
    if len(widths) != depth + 1:
        heights = ", ".join(str(image_shape[1] >> i) for i in reversed(range(depth + 1)))
        raise UserError(
            f"networks.{part}.widths={list(widths)} must be {depth + 1} numbers, for the heights {heights}, or one "
            "number for all."
        )
    return list(widths)


def make_blocks(widths: Sequence[int], blocks: int, group_width: int, expansion: int) -> list[list[Block]]:
    """`blocks` blocks for each stage; for three layers in a branch, Fixup's exponent is -1 / (2 * 3 - 2)."""
    gain = GAIN * (len(widths) * blocks) ** -0.25
    return [[Block(width, group_width, expansion, gain) for _ in range(blocks)] for width in widths]


class LabelProjection(nn.Module):
    """Logits [B] of features [B, F] and one-hot labels [B, K]: the inner product of bias-free linear maps of both.

    The label's map begins with variance 1 / (F K), so that the logits of unit-variance features are of order 1.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = scaled(nn.Linear(features, features, bias=False))
        self.embedding = scaled(nn.Linear(num_classes, features, bias=False), gain=1 / math.sqrt(features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return (self.linear(features) * self.embedding(labels.to(features))).sum(dim=1)


class R3GANEncoder(nn.Module):
    """Image [B, C, H, W] in [-1, 1] to features [B, F].

    Stages of residual blocks, halved in between, end in a depthwise 4x4 convolution. `features` > 0 adds a linear
    layer without bias to that many features. `projection` is how a conditional discriminator uses the label: `own`,
    the paper's `LabelProjection` without a head, or `plain`, as with other networks.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        widths: int | Sequence[int] = 768,
        blocks: int = 2,
        group_width: int = 16,
        expansion: int = 2,
        features: int = 0,
        taps: Sequence[float] = TAPS,
        projection: Projection = "own",
    ) -> None:
        super().__init__()
        stages = stage_widths(image_shape, widths, "encoder")[::-1]
        layers: list[nn.Module] = [convolution(image_shape[0], stages[0])]
        for i, stage in enumerate(make_blocks(stages, blocks, group_width, expansion)):
            if i:
                layers.append(Resample(stages[i - 1], stages[i], up=False, taps=taps))
            layers += stage
        down, last = len(stages) - 1, stages[-1]
        sides = (image_shape[1] >> down, image_shape[2] >> down)
        layers += [scaled(nn.Conv2d(last, last, sides, groups=last, bias=False)), nn.Flatten()]
        if features:
            layers.append(scaled(nn.Linear(last, features, bias=False)))
        self.net = nn.Sequential(*layers)
        self.num_features, self.projection = features or last, projection

    def make_head(self, outputs: int) -> nn.Module:
        """A linear layer on the features, without a bias as in the paper."""
        return scaled(nn.Linear(self.num_features, outputs, bias=False))

    def make_projection(self, num_classes: int) -> nn.Module | None:
        """From features and labels to logits, where the network has its own way."""
        return LabelProjection(self.num_features, num_classes) if self.projection == "own" else None

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # [B, F]


class R3GANDecoder(nn.Module):
    """Latent [B, Z (+ K)] to raw image [B, C, H, W]: a learned 4x4 basis scaled by the latent, then stages of blocks.

    With `num_classes` = K > 0 the last K values of the latent are a one-hot label; its linear embedding of size
    `embedding` is appended to the code.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        num_classes: int = 0,
        widths: int | Sequence[int] = 768,
        blocks: int = 2,
        group_width: int = 16,
        expansion: int = 2,
        embedding: int = 64,
        taps: Sequence[float] = TAPS,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        stages = stage_widths(image_shape, widths, "decoder")
        up = len(stages) - 1
        self.embedding = scaled(nn.Linear(num_classes, embedding, bias=False)) if num_classes else None
        self.linear = scaled(nn.Linear(latent_dim + (embedding if num_classes else 0), stages[0], bias=False))
        self.basis = nn.Parameter(torch.randn(stages[0], image_shape[1] >> up, image_shape[2] >> up))
        layers: list[nn.Module] = []
        for i, stage in enumerate(make_blocks(stages, blocks, group_width, expansion)):
            if i:
                layers.append(Resample(stages[i - 1], stages[i], up=True, taps=taps))
            layers += stage
        self.net = nn.Sequential(*layers, convolution(stages[-1], image_shape[0]))

    def forward(self, latents: Tensor) -> Tensor:
        codes, labels = split_labels(latents, self.num_classes)
        if self.embedding is not None and labels is not None:
            codes = torch.cat([codes, self.embedding(labels)], dim=1)
        return self.net(self.basis * self.linear(codes)[:, :, None, None])  # [B, C, H, W]
