"""The plain convolutional networks of SNGAN (Miyato et al. 2018, table 3).

Weights start from N(0, 0.02^2) and biases at 0.
"""

import itertools

from torch import Tensor, nn

from lightning_gen.networks.conv import normalization
from lightning_gen.networks.initialization import initialize
from lightning_gen.networks.shapes import ImageShape, halvings


def _widths(depth: int, width: int, max_width: int) -> list[int]:
    """Channels at the image's resolution and after each halving."""
    return [min(width * 2**i, max_width) for i in range(depth + 1)]


class SNGANEncoder(nn.Module):
    """Image [B, C, H, W] in [-1, 1] to features [B, F].

    Convolutions of 3x3 and of 4x4 with stride 2 alternate, each followed by a leaky ReLU with slope 0.1.
    """

    def __init__(self, image_shape: ImageShape, width: int = 64, max_width: int = 512) -> None:
        super().__init__()
        depth = halvings(image_shape, network="sngan_cnn")
        channels, height, width_px = image_shape
        widths = _widths(depth, width, max_width)
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(channels, fan_in, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1),
                nn.LeakyReLU(0.1),
            ]
            channels = fan_out
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.1), nn.Flatten()]
        self.net = nn.Sequential(*layers)
        self.num_features = channels * (height >> depth) * (width_px >> depth)
        initialize(self, "normal", "leaky_relu")

    def make_head(self, outputs: int) -> nn.Module:
        """A linear layer on the features, with the initial weights of the published recipe."""
        head = nn.Linear(self.num_features, outputs)
        initialize(head, "normal", "linear")
        return head

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # [B, F]


class SNGANDecoder(nn.Module):
    """Latent [B, Z] to raw image [B, C, H, W]: a linear layer, transposed convolutions, and a 3x3 convolution."""

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        width: int = 64,
        max_width: int = 512,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        depth = halvings(image_shape, network="sngan_cnn")
        channels, height, width_px = image_shape
        widths = _widths(depth, width, max_width)[::-1]
        start = (widths[0], height >> depth, width_px >> depth)
        layers: list[nn.Module] = [nn.Linear(latent_dim, start[0] * start[1] * start[2]), nn.Unflatten(1, start)]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [normalization(norm, fan_in), nn.ReLU(), nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1)]
        layers += [normalization(norm, widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], channels, 3, padding=1)]
        self.net = nn.Sequential(*layers)
        initialize(self, "normal", "relu")

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents)  # [B, C, H, W]
