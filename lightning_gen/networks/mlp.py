"""Fully connected networks as in the classic papers (Kingma & Welling 2014; Goodfellow et al. 2014)."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.shapes import ImageShape

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "linear": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """The activation of this name. leaky_relu has slope 0.2, as usual for GANs (Radford et al. 2016).

    Raises:
        UserError: an unknown name.
    """
    if name not in ACTIVATIONS:
        raise UserError(
            f"activation={name} is not known: use one of {', '.join(ACTIVATIONS)}.{did_you_mean(name, ACTIVATIONS)}"
        )
    return nn.LeakyReLU(0.2) if name == "leaky_relu" else ACTIVATIONS[name]()


def _layers(
    sizes: Sequence[int], name: str, dropout: float, linear: Callable[[int, int], nn.Module] = nn.Linear
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [linear(fan_in, fan_out), activation(name)]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers


def perceptron(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1] with an activation between them, but not at the end."""
    return nn.Sequential(*_layers(sizes[:-1], activation, dropout=0.0), nn.Linear(sizes[-2], sizes[-1]))


class MLPEncoder(nn.Module):
    """Image [B, C, H, W] to features [B, widths[-1]]; without widths, the pixels [B, C * H * W] themselves."""

    def __init__(
        self, image_shape: ImageShape, widths: Sequence[int], activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes = [math.prod(image_shape), *widths]
        self.num_features = sizes[-1]
        self.net = nn.Sequential(nn.Flatten(), *_layers(sizes, activation, dropout))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # [B, F]


class MLPDecoder(nn.Module):
    """Latent [B, Z] to raw image [B, C, H, W] without an output activation.

    `tied`: the matrices are the transposes of the encoder's (see `tie`); only the biases belong to the decoder.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        widths: Sequence[int],
        activation: str = "relu",
        tied: bool = False,
    ) -> None:
        super().__init__()
        sizes = [latent_dim, *widths]
        linear = TransposedLinear if tied else nn.Linear
        self.net = nn.Sequential(
            *_layers(sizes, activation, dropout=0.0, linear=linear),
            linear(sizes[-1], math.prod(image_shape)),
            nn.Unflatten(1, tuple(image_shape)),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents)  # [B, C, H, W]


class TransposedLinear(nn.Module):
    """x W + b [B, out], where the matrix W [in, out] belongs to another layer; see `tie`.

    Only the bias is a parameter of this layer, so optimizers, averages and checkpoints see each matrix once.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features)  # as in nn.Linear
        self.bias = nn.Parameter(torch.empty(out_features).uniform_(-bound, bound))
        self.mirrored: tuple[nn.Linear, ...] = ()  # in a tuple, so that the layer is not registered twice

    def forward(self, values: Tensor) -> Tensor:
        (linear,) = self.mirrored
        return F.linear(values, linear.weight.T, self.bias)


def tie(decoder: nn.Module, *encoder: nn.Module) -> None:
    """Let the decoder's transposed layers, if it has any, use the matrices of the encoder's layers in reverse order.

    Raises:
        UserError: the layers do not mirror each other.
    """
    transposed = [module for module in decoder.modules() if isinstance(module, TransposedLinear)]
    if not transposed:
        return
    linears = [module for part in encoder for module in part.modules() if isinstance(module, nn.Linear)]
    theirs = [(linear.out_features, linear.in_features) for linear in reversed(linears)]
    if theirs != [(layer.in_features, layer.out_features) for layer in transposed]:
        raise UserError(
            "networks.decoder.tied=true needs a decoder that mirrors the encoder: set networks.decoder.widths to "
            "networks.encoder.widths in reverse order, both of networks=mlp, and conditional=false."
        )
    for layer, linear in zip(transposed, reversed(linears), strict=True):
        layer.mirrored = (linear,)
