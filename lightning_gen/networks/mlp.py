"""Fully connected networks, as in the classic papers (Kingma & Welling 2014; Goodfellow et al. 2014)."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.shapes import ImageShape

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def activation(name: str) -> nn.Module:
    """The activation of that name; leaky_relu has slope 0.2, as GANs use it (Radford et al. 2016).

    Raises:
        UserError: an unknown name.
    """
    if name not in ACTIVATIONS:
        raise UserError(
            f"activation={name} is not known: use one of {', '.join(ACTIVATIONS)}.{did_you_mean(name, ACTIVATIONS)}"
        )
    return nn.LeakyReLU(0.2) if name == "leaky_relu" else ACTIVATIONS[name]()


def _layers(sizes: Sequence[int], name: str, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), activation(name)]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers


class MLPEncoder(nn.Module):
    """Image [B, C, H, W] to features [B, widths[-1]]."""

    def __init__(
        self, image_shape: ImageShape, widths: Sequence[int], activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_features = widths[-1]
        self.net = nn.Sequential(nn.Flatten(), *_layers([math.prod(image_shape), *widths], activation, dropout))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # [B, F]


class MLPDecoder(nn.Module):
    """Latent [B, Z] to raw image [B, C, H, W], without an output activation."""

    def __init__(
        self, latent_dim: int, image_shape: ImageShape, widths: Sequence[int], activation: str = "relu"
    ) -> None:
        super().__init__()
        sizes = [latent_dim, *widths]
        self.net = nn.Sequential(
            *_layers(sizes, activation, dropout=0.0),
            nn.Linear(sizes[-1], math.prod(image_shape)),
            nn.Unflatten(1, tuple(image_shape)),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents)  # [B, C, H, W]
