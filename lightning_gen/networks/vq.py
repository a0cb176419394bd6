"""The residual convolutions of the VQ-VAE (van den Oord et al. 2017, sec. 4.1), at a quarter of the resolution."""

import math

from torch import Tensor, nn

from lightning_gen.errors import UserError
from lightning_gen.networks.shapes import ImageShape, refuse_points


def quartered(image_shape: ImageShape) -> tuple[int, int]:
    """Height and width of the feature map.

    Raises:
        UserError: a side is not a multiple of 4.
    """
    refuse_points(image_shape, "vq")
    _, height, width = image_shape
    if height % 4 or width % 4:
        nearest = max(height // 4, 1) * 4
        raise UserError(
            f"networks=vq needs images whose sides are multiples of 4, but these are {height}x{width}: "
            f"set dataset.size to {nearest}."
        )
    return height // 4, width // 4


class Residual(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))), [B, C, h, w]."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, hidden, kernel_size=3, padding=1)
        self.outer = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.outer(self.inner(features.relu()).relu())


class VQEncoder(nn.Module):
    """Image [B, C, H, W] to features [B, F]: a flattened map of shape `feature_shape` = (width, H / 4, W / 4)."""

    def __init__(self, image_shape: ImageShape, width: int = 64, blocks: int = 2, hidden: int = 32) -> None:
        super().__init__()
        self.feature_shape = (width, *quartered(image_shape))
        self.num_features = math.prod(self.feature_shape)
        self.net = nn.Sequential(
            nn.Conv2d(image_shape[0], width // 2, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            *(Residual(width, hidden) for _ in range(blocks)),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).flatten(1)  # [B, F]


class VQDecoder(nn.Module):
    """Latent [B, Z] to raw image [B, C, H, W] without an output activation.

    If `spatial`, the latent is a flattened map [Z / (h w), h, w] with h = H / 4 and w = W / 4. Otherwise a linear
    layer turns the latent into such a map, so that every model can use this network.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        width: int = 64,
        blocks: int = 2,
        hidden: int = 32,
        spatial: bool = False,
    ) -> None:
        super().__init__()
        height, breadth = quartered(image_shape)
        depth = latent_dim // (height * breadth) if spatial else width
        spread: nn.Module = nn.Identity() if spatial else nn.Linear(latent_dim, depth * height * breadth)
        self.net = nn.Sequential(
            spread,
            nn.Unflatten(1, (depth, height, breadth)),
            nn.Conv2d(depth, width, kernel_size=3, padding=1),
            *(Residual(width, hidden) for _ in range(blocks)),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, image_shape[0], kernel_size=4, stride=2, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents)  # [B, C, H, W]
