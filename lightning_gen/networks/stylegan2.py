"""The networks of StyleGAN2 (Karras et al. 2020), as StyleGAN2-ADA uses them for CIFAR-10."""

import itertools
import math

import torch
from torch import Tensor, nn

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks import resampling
from lightning_gen.networks.conditioning import Projection
from lightning_gen.networks.equalized import (
    TAPS,
    EqualConv2d,
    EqualLinear,
    MinibatchStd,
    ModulatedConv2d,
    leaky,
)
from lightning_gen.networks.mapping import LabelProjection, Mapping
from lightning_gen.networks.shapes import ImageShape, halvings
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Decay, Fraction


def _choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"networks.{key}={value}: use {' or '.join(known)}.{did_you_mean(value, known)}")


def channels_by_size(image_shape: ImageShape, channel_base: int, channel_max: int) -> list[int]:
    """Channels at each resolution, lowest first: `channel_base` / longer side, but at most `channel_max`."""
    depth, longer = halvings(image_shape, network="stylegan2"), max(image_shape[1:])
    return [min(max(channel_base // (longer >> i), 1), channel_max) for i in reversed(range(depth + 1))]


class StyleGAN2Encoder(nn.Module):
    """Image [B, C, H, W] in [-1, 1] to features [B, F].

    Two convolutions per resolution, then the minibatch standard deviation, a convolution and a linear layer.
    `architecture` is `orig` or `resnet`. `minibatch_std` is the largest number of images in a group of the minibatch
    standard deviation; above 0, the features of an image depend on the other images of its group. Use 0 for encoders,
    whose codes must depend on one image only.
    `projection` is how a conditional discriminator uses the label: `own`, the paper's `LabelProjection` with
    `mapping_layers`, or `plain`, as with other networks.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: str = "orig",
        minibatch_std: int = 32,
        mapping_layers: Count = 8,
        projection: Projection = "own",
    ) -> None:
        super().__init__()
        _choice("encoder.architecture", architecture, ("orig", "resnet"))
        channels = channels_by_size(image_shape, channel_base, channel_max)[::-1]
        last, down = channels[-1], len(channels) - 1
        self.from_image = EqualConv2d(image_shape[0], channels[0], 1)
        residual = architecture == "resnet"
        self.blocks = nn.Sequential(*(HalvingBlock(a, b, residual) for a, b in itertools.pairwise(channels)))
        self.deviation = MinibatchStd(minibatch_std) if minibatch_std else nn.Identity()
        self.conv = EqualConv2d(last + bool(minibatch_std), last, 3)
        self.linear = EqualLinear(last * (image_shape[1] >> down) * (image_shape[2] >> down), last)
        self.num_features, self.mapping_layers, self.projection = last, mapping_layers, projection

    def make_head(self, outputs: int) -> nn.Module:
        """A linear layer on the features, with an equalized learning rate like the others."""
        return EqualLinear(self.num_features, outputs)

    def make_projection(self, num_classes: int) -> nn.Module | None:
        """From features and labels to logits, where the network has its own way."""
        own = self.projection == "own"
        return LabelProjection(self.num_features, num_classes, self.mapping_layers) if own else None

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(leaky(self.from_image(images)))
        x = leaky(self.conv(self.deviation(x)))
        return leaky(self.linear(x.flatten(1)))  # [B, F]


class HalvingBlock(nn.Module):
    """Two convolutions, the second halving the resolution; `residual` adds a linear shortcut, divided by sqrt(2)."""

    def __init__(self, channels: int, out: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = EqualConv2d(channels, channels, 3)
        self.conv2 = EqualConv2d(channels, out, 3, down=True)
        self.shortcut = EqualConv2d(channels, out, 1, down=True, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = leaky(self.conv2(leaky(self.conv1(x))))
        return y if self.shortcut is None else (y + self.shortcut(x)) * math.sqrt(0.5)


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, optional noise, a bias and a leaky ReLU."""

    def __init__(self, channels: int, out: int, style_dim: int, up: bool, noise: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(channels, out, 3, style_dim, up=up)
        self.bias = nn.Parameter(torch.zeros(out))
        self.strength = nn.Parameter(torch.zeros(())) if noise else None
        if noise:
            self.register_buffer("noise", torch.randn(noise))

    def forward(self, x: Tensor, style: Tensor, fresh: Noise | None = None) -> Tensor:
        x = self.conv(x, style)
        if self.strength is not None:
            own: Tensor = self.noise  # type: ignore[assignment]
            maps = own if fresh is None else fresh.normal((len(x), 1, *own.shape), x.device)
            x = x + (maps * self.strength).to(x.dtype)
        return leaky(x + self.bias.to(x.dtype)[:, None, None])


class ToImage(nn.Module):
    """A modulated 1x1 convolution to the channels of the image, without demodulation, and a bias."""

    def __init__(self, channels: int, out: int, style_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(channels, out, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = self.conv(x, style)
        return x + self.bias.to(x.dtype)[:, None, None]


class StyleGAN2Decoder(nn.Module):
    """Latent [B, Z (+ K)] to raw image [B, C, H, W]: convolutions of a learned constant, modulated by the style.

    Args:
        latent_dim: Z.
        image_shape: (C, H, W).
        num_classes: K; if above 0, the last K values of the latent are a one-hot label.
        channel_base: channels at a resolution are channel_base / longer side,
        channel_max: but at most this many.
        style_dim: size of the style.
        mapping_layers: layers of the mapping network.
        architecture: `skip` sums the images of all resolutions; `orig` uses that of the last one only.
        noise: `none`; `fixed`: maps drawn once, with a learned strength per layer; `fresh`: in training, new maps at
            each call, as published. Sampling uses the maps drawn once, so that an image is a function of its latent.
        style_mixing: in training, the part of the images that take the styles of their upper layers, from a random
            layer on, from another code, drawn from N(0, I) (Karras et al. 2019, sec. 3.1).
        w_avg_decay: of the running mean of the styles of training; None: keep none.
    """

    truncates_styles = True
    takes_noise = True

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        style_dim: int = 512,
        mapping_layers: int = 2,
        architecture: str = "skip",
        noise: str = "none",
        style_mixing: Fraction = 0.0,
        w_avg_decay: Decay | None = 0.995,
    ) -> None:
        super().__init__()
        _choice("decoder.architecture", architecture, ("skip", "orig"))
        _choice("decoder.noise", noise, ("none", "fixed", "fresh"))
        channels = channels_by_size(image_shape, channel_base, channel_max)
        image_channels, height, width = image_shape
        up = len(channels) - 1
        sides = [(height >> i, width >> i) for i in reversed(range(up + 1))]
        maps = [None] * len(sides) if noise == "none" else sides
        self.fresh, self.style_mixing = noise == "fresh", style_mixing
        self.code_dim, self.num_styles = latent_dim, 2 * len(sides)
        self.mapping = Mapping(latent_dim, num_classes, style_dim, mapping_layers, w_avg_decay)
        self.constant = nn.Parameter(torch.randn(channels[0], *sides[0]))
        self.first = StyledConv(channels[0], channels[0], style_dim, up=False, noise=maps[0])
        self.up = nn.ModuleList(
            StyledConv(a, b, style_dim, up=True, noise=size)
            for (a, b), size in zip(itertools.pairwise(channels), maps[1:], strict=True)
        )
        self.same = nn.ModuleList(
            StyledConv(b, b, style_dim, up=False, noise=size) for b, size in zip(channels[1:], maps[1:], strict=True)
        )
        shown = channels if architecture == "skip" else channels[-1:]
        self.to_image = nn.ModuleList(ToImage(b, image_channels, style_dim) for b in shown)
        self.register_buffer("kernel", resampling.kernel(TAPS), persistent=False)

    def forward(self, latents: Tensor, truncation: float | None = None, noise: Noise | None = None) -> Tensor:
        """The raw image; see `styles` and `synthesize`."""
        return self.synthesize(self.styles(latents, truncation, noise), noise)

    def styles(self, latents: Tensor, truncation: float | None = None, noise: Noise | None = None) -> Tensor:
        """The style w of each layer, [B, L, style_dim]; with the `noise` of a training step, styles are mixed.

        `truncation` psi uses w_avg + psi (w - w_avg) as w (Karras et al. 2019, app. B), where w_avg is the running
        mean of w.
        """
        style = self.mapping(latents)
        if truncation is not None:
            style = torch.lerp(self.mapping.mean_style().to(style), style, truncation)
        styles = style.unsqueeze(1).expand(-1, self.num_styles, -1)
        if not self.style_mixing or noise is None:
            return styles
        codes = noise.normal((len(latents), self.code_dim), latents.device).to(latents)
        other = self.mapping(torch.cat([codes, latents[:, self.code_dim :]], dim=1), follow=False).unsqueeze(1)
        mixes, where = noise.uniform((len(latents), 2), latents.device).unbind(dim=1)
        first = torch.where(mixes < self.style_mixing, 1 + (where * (self.num_styles - 1)).floor(), self.num_styles)
        return torch.where(
            (torch.arange(self.num_styles, device=first.device) >= first[:, None])[..., None], other, styles
        )

    def synthesize(self, styles: Tensor, noise: Noise | None = None) -> Tensor:
        """The raw image [B, C, H, W] of the styles of each layer [B, L, style_dim].

        A layer that shows the image shares the style of the convolution after it. `noise`: that of a training step.
        """
        fresh = noise if self.fresh else None
        layers = styles.unbind(dim=1)
        x = self.first(self.constant.expand(styles.shape[0], -1, -1, -1), layers[0], fresh)
        states = [x]
        for i, (up, same) in enumerate(zip(self.up, self.same, strict=True)):
            states.append(same(up(states[-1], layers[2 * i + 1], fresh), layers[2 * i + 2], fresh))
        shown = len(self.to_image)
        image, *others = (
            layer(x, style)
            for layer, x, style in zip(self.to_image, states[-shown:], layers[1::2][-shown:], strict=True)
        )
        for other in others:
            image = resampling.double(image, self.kernel) + other  # type: ignore[arg-type]
        return image
