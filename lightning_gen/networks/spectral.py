"""Spectral normalization of any network (Miyato et al. 2018)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized, register_parametrization

from lightning_gen.errors import UserError
from lightning_gen.networks.precision import no_autocast

NORMALIZED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


class SpectralNorm(_SpectralNorm):
    """PyTorch's spectral normalization in the precision of the weights, also in mixed precision.

    On a GPU, PyTorch's own multiplies in bfloat16 under autocast: the singular vectors, which are kept from step to
    step, and the value that the weights are divided by would be rounded to 3 digits.
    """

    def forward(self, weight: Tensor) -> Tensor:
        with no_autocast(weight):
            return super().forward(weight)


def normalize(network: nn.Module) -> nn.Module:
    """Let every layer of the network divide its matrix by the largest singular value; returns the network.

    The singular value is tracked by one power iteration per forward pass in training mode (sec. 2.1), with PyTorch's
    eps of 1e-12. Layers that are normalized already are left unchanged, and so are those that a network names as
    `unnormalized`.

    Raises:
        UserError: the weights of a layer are all 0, or no layer can be normalized.
    """
    left_out = {getattr(owner, name) for owner in network.modules() for name in getattr(owner, "unnormalized", ())}
    layers = [module for module in network.modules() if isinstance(module, NORMALIZED) and module not in left_out]
    if not layers:
        raise UserError(
            f"{type(network).__name__} has no layer that spectral norm can be applied to: use "
            "networks.spectral_norm=none, or other networks."
        )
    for layer in layers:
        if is_parametrized(layer, "weight"):
            continue
        if not layer.weight.is_meta and not layer.weight.any():
            raise UserError(
                f"{type(network).__name__} has a layer whose weights start at 0, which spectral norm cannot scale: "
                "use networks.spectral_norm=none, or other networks."
            )
        outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # the dimension of its outputs
        register_parametrization(layer, "weight", SpectralNorm(layer.weight, dim=outputs))
    return network


def is_singular_vector(name: str) -> bool:
    """Whether spectral normalization keeps its estimate of a singular vector under this name of a state dict."""
    return "parametrizations." in name and name.endswith(("._u", "._v"))


def follow_weights(network: nn.Module, iterations: int = 15) -> None:
    """Bring the singular vectors to those of the weights as they are now, by power iterations from where they stand.

    In evaluation mode a layer divides by the singular value that it last estimated in training mode.
    """
    for weight in network.modules():
        if not (isinstance(weight, ParametrizationList) and isinstance(weight[0], _SpectralNorm)):
            continue
        training, weight[0].training = weight[0].training, True
        with torch.no_grad():
            for _ in range(iterations):
                weight()
        weight[0].training = training


def normalized(network: Callable[..., nn.Module], wanted: bool = True) -> Callable[..., nn.Module]:
    """A factory like `network` whose result is spectrally normalized if `wanted`; see `normalize`."""

    def make(**arguments: Any) -> nn.Module:
        return normalize(network(**arguments))

    make.__wrapped__ = network  # type: ignore[attr-defined]  # so that inspect.signature sees its parameters
    return make if wanted else network
