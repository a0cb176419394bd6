"""Spectral normalization of any network (Miyato et al. 2018)."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.errors import UserError

NORMALIZED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


def normalize(network: nn.Module) -> nn.Module:
    """Divide each matrix of the network by its largest singular value, once; the network itself is returned.

    The singular value follows the weights by one power iteration at each forward pass in training mode (sec. 2.1),
    with torch's eps of 1e-12. Layers that are normalized already stay as they are.

    Raises:
        UserError: a layer's weights are all 0, or there is no layer that can be normalized.
    """
    layers = [module for module in network.modules() if isinstance(module, NORMALIZED)]
    if not layers:
        raise UserError(
            f"{type(network).__name__} has no layer with a matrix of its own to normalize: use "
            "networks.spectral_norm=none, or other networks."
        )
    for layer in layers:
        if is_parametrized(layer, "weight"):
            continue
        if not layer.weight.is_meta and not layer.weight.any():
            raise UserError(
                f"{type(network).__name__} begins with some weights 0, which have no singular value to divide by: "
                "use networks.spectral_norm=none, or other networks."
            )
        spectral_norm(layer)
    return network


def normalized(network: Callable[..., nn.Module], wanted: bool = True) -> Callable[..., nn.Module]:
    """The factory of a network that is spectrally normalized if `wanted`: see `normalize`."""

    def make(**arguments: Any) -> nn.Module:
        return normalize(network(**arguments))

    make.__wrapped__ = network  # type: ignore[attr-defined]  # so that its parameters can be asked for
    return make if wanted else network
