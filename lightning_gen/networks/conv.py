"""Strided convolutions as in DCGAN (Radford et al. 2016), as deep as the image size allows."""

import itertools
from typing import Literal

from torch import Tensor, nn

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.mlp import activation as make_activation
from lightning_gen.networks.shapes import ImageShape, halvings


def normalization(kind: str, channels: int, affine: bool = True) -> nn.Module:
    """A normalization layer: `batch`, `group` (8 channels per group) or `none`.

    `affine`: whether it learns a gain and a bias.

    Raises:
        UserError: an unknown `kind`.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels, affine=affine)
    if kind == "group":
        return nn.GroupNorm(max(channels // 8, 1), channels, affine=affine)
    if kind == "none":
        return nn.Identity()
    known = ("batch", "group", "none")
    raise UserError(f"norm={kind} is not known: use one of {', '.join(known)}.{did_you_mean(kind, known)}")


class ConvEncoder(nn.Module):
    """Image [B, C, H, W] to features [B, F]; each layer halves both sides.

    Args:
        image_shape: (C, H, W).
        width: channels of the first layer; doubled at each halving, up to `max_width`.
        max_width: the most channels.
        norm: `batch`, `group` or `none`.
        activation: a name from `mlp.ACTIVATIONS`.
        bias: whether the convolutions have one.
        kernel: the side of the kernels in pixels, 4 or 5.
        smallest: halving stops before the shorter side has fewer pixels than this; by default 4 to 7 are left.
        norm_last: put the normalization after the activation.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        width: int = 32,
        max_width: int = 256,
        norm: str = "none",
        activation: str = "leaky_relu",
        bias: bool = True,
        kernel: int = 4,
        smallest: int = 4,
        norm_last: bool = False,
    ) -> None:
        super().__init__()
        depth = halvings(image_shape, smallest)
        channels, height, width_px = image_shape
        widths = [min(width * 2**i, max_width) for i in range(depth)]
        layers: list[nn.Module] = []
        for i, out in enumerate(widths):
            layers.append(nn.Conv2d(channels, out, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias))
            pair = [normalization(norm, out), make_activation(activation)]
            if i == 0:  # no norm in the first layer, as in DCGAN: it would hide the images' mean
                pair = pair[1:]
            layers += reversed(pair) if norm_last else pair
            channels = out
        self.net = nn.Sequential(*layers, nn.Flatten())
        self.num_features = channels * (height >> depth) * (width_px >> depth)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # [B, F]


def first_layers(kind: str, latent_dim: int, start: ImageShape, bias: bool) -> list[nn.Module]:
    """From a latent [B, Z] to [B, *start] by a `linear` layer, or by a `transposed` convolution as in DCGAN's code.

    The map is the same but for the bias, one per channel of the convolution; PyTorch's initial weights of a
    convolution are smaller.
    """
    if kind == "linear":
        return [nn.Linear(latent_dim, start[0] * start[1] * start[2], bias=bias), nn.Unflatten(1, start)]
    return [nn.Unflatten(1, (latent_dim, 1, 1)), nn.ConvTranspose2d(latent_dim, start[0], start[1:], bias=bias)]


class ConvDecoder(nn.Module):
    """Latent [B, Z] to raw image [B, C, H, W] without an output activation; the mirror of `ConvEncoder`.

    `first` is the kind of `first_layers`.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        width: int = 32,
        max_width: int = 256,
        norm: str = "batch",
        activation: str = "relu",
        bias: bool = True,
        smallest: int = 4,
        first: Literal["linear", "transposed"] = "linear",
    ) -> None:
        super().__init__()
        depth = halvings(image_shape, smallest)
        channels, height, width_px = image_shape
        widths = [min(width * 2**i, max_width) for i in reversed(range(depth))]
        layers: list[nn.Module] = [
            *first_layers(first, latent_dim, (widths[0], height >> depth, width_px >> depth), bias),
            normalization(norm, widths[0]),
            make_activation(activation),
        ]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [
                nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=bias),
                normalization(norm, fan_out),
                make_activation(activation),
            ]
        last = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1, bias=bias)
        self.net = nn.Sequential(*layers, last)

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents)  # [B, C, H, W]
