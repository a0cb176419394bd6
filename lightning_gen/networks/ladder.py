"""Convolutions with layers of latents, for deep hierarchical VAEs (Sonderby et al. 2016; Child 2021)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_gen.networks.shapes import ImageShape, halvings
from lightning_gen.networks.vq import Residual
from lightning_gen.ranges import Count, Natural

MeanAndLogVariance = tuple[Tensor, Tensor]
# From the layer's number, the features above it [N, width, h, w] and the prior's parameters: the latents [N, c, h, w]
Choose = Callable[[int, Tensor, MeanAndLogVariance], Tensor]


class LadderEncoder(nn.Module):
    """Image [B, C, H, W] to features [B, F]: the smallest of its maps, flattened.

    `maps` gives one map [B, width, h, w] for each resolution, from half of the image's down to 4 to 7 pixels.
    """

    def __init__(self, image_shape: ImageShape, width: Count = 32, blocks: Count = 1) -> None:
        super().__init__()
        scales = halvings(image_shape, network="ladder")
        inputs = [image_shape[0], *[width] * (scales - 1)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, kernel_size=4, stride=2, padding=1),
                *(Residual(width, width) for _ in range(blocks)),
            )
            for channels in inputs
        )
        self.num_features = width * (image_shape[1] >> scales) * (image_shape[2] >> scales)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps of all resolutions, from the smallest to the largest."""
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(images)
        return found[::-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[0].flatten(1)  # [B, F]


class LatentLayer(nn.Module):
    """One layer of latents [N, c, h, w] on the way down: its prior, its posterior, and how they change the features.

    The prior of the first layer is N(0, I); those below start there.
    """

    def __init__(self, width: int, channels: int, first: bool) -> None:
        super().__init__()
        self.prior_net = None if first else nn.Conv2d(width, 2 * channels, kernel_size=3, padding=1)
        if self.prior_net is not None:
            nn.init.zeros_(self.prior_net.weight)
            assert self.prior_net.bias is not None
            nn.init.zeros_(self.prior_net.bias)
        self.posterior_net = nn.Sequential(
            nn.Conv2d(2 * width, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * channels, kernel_size=3, padding=1),
        )
        self.project = nn.Conv2d(channels, width, kernel_size=1)
        self.block = Residual(width, width)
        self.channels = channels

    def prior(self, above: Tensor) -> MeanAndLogVariance:
        """Mean and log variance of p(z_l | z_<l) from the features above, each [N, c, h, w]."""
        if self.prior_net is None:
            zeros = above.new_zeros(above.shape[0], self.channels, *above.shape[2:])
            return zeros, zeros
        mean, log_variance = self.prior_net(above).chunk(2, dim=1)
        return mean, log_variance

    def posterior(self, above: Tensor, seen: Tensor) -> MeanAndLogVariance:
        """Mean and log variance of q(z_l | x, z_<l) from the features above and those of the image."""
        mean, log_variance = self.posterior_net(torch.cat([above, seen], dim=1)).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, above: Tensor, latents: Tensor) -> Tensor:
        return self.block(above + self.project(latents))


class LadderDecoder(nn.Module):
    """Latent [N, Z (+ K)] to raw image [N, C, H, W] without an output activation.

    It has `layers` at each resolution. With `latent_dim` null, each layer has latents, `channels` numbers for each
    position: all of them together are the code, [N, Z] with Z = `code_dim`, and `descend` goes through the layers.
    Otherwise only the first features depend on the latent, so that every model can use this network.

    Raises:
        UserError: image sizes that cannot be halved.
    """

    def __init__(
        self,
        latent_dim: Natural | None,
        image_shape: ImageShape,
        width: Count = 32,
        layers: Count = 2,
        channels: Count = 4,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        scales = halvings(image_shape, network="ladder")
        self.sides = [(image_shape[1] >> scale, image_shape[2] >> scale) for scale in range(scales, 0, -1)]
        self.scale_of = [scale for scale in range(scales) for _ in range(layers)]  # of each layer
        self.shapes = [(channels, *self.sides[scale]) for scale in self.scale_of]
        self.code_dim = sum(math.prod(shape) for shape in self.shapes)
        self.latent_dim, self.num_classes = latent_dim, num_classes
        inputs = (latent_dim or 0) + num_classes
        self.start = nn.Sequential(
            nn.Linear(max(inputs, 1), width * math.prod(self.sides[0])), nn.Unflatten(1, (width, *self.sides[0]))
        )
        make = [
            LatentLayer(width, channels, first=index == 0) if latent_dim is None else Residual(width, width)
            for index in range(len(self.scale_of))
        ]
        self.layers = nn.ModuleList(make)
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, kernel_size=3, padding=1))
            for _ in range(scales)
        )
        self.out = nn.Sequential(nn.ReLU(), nn.Conv2d(width, image_shape[0], kernel_size=3, padding=1))

    def forward(self, latents: Tensor) -> Tensor:
        if self.latent_dim is not None:
            return self._through(self.start(latents), lambda index, features: self.layers[index](features))
        codes, labels = latents.split([self.code_dim, self.num_classes], dim=1)
        parts = [part.unflatten(1, shape) for part, shape in zip(self.parts(codes), self.shapes, strict=True)]
        return self.descend(codes.shape[0], labels, lambda index, above, prior: scaled(parts[index], prior))

    def parts(self, codes: Tensor) -> tuple[Tensor, ...]:
        """The share of each layer in codes [..., Z]."""
        return codes.split([math.prod(shape) for shape in self.shapes], dim=-1)

    def descend(self, count: int, labels: Tensor, choose: Choose) -> Tensor:
        """Raw images [N, C, H, W] of latents that `choose` gives, layer after layer; one-hot labels [N, K]."""
        inputs = labels if self.num_classes else labels.new_ones(count, 1)

        def step(index: int, features: Tensor) -> Tensor:
            layer = self.layers[index]
            assert isinstance(layer, LatentLayer)
            return layer(features, choose(index, features, layer.prior(features)))

        return self._through(self.start(inputs), step)

    def _through(self, features: Tensor, step: Callable[[int, Tensor], Tensor]) -> Tensor:
        for index, scale in enumerate(self.scale_of):
            if index and scale != self.scale_of[index - 1]:
                features = self.grow[scale - 1](features)
            features = step(index, features)
        return self.out(self.grow[-1](features))


def scaled(noise: Tensor, prior: MeanAndLogVariance) -> Tensor:
    """Latents mean + sigma e of a prior, from e [N, c, h, w]."""
    mean, log_variance = prior
    return mean + (0.5 * log_variance).exp() * noise
