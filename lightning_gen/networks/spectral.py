"""Spectral normalization of any network (Miyato et al. 2018)."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

NORMALIZED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def normalized(network: Callable[..., nn.Module], wanted: bool = True) -> Callable[..., nn.Module]:
    """The factory of a network, each of whose matrices is divided by its largest singular value, if `wanted`.

    The singular value follows the weights by one power iteration at each forward pass in training mode (sec. 2.1).
    """

    def make(**arguments: Any) -> nn.Module:
        made = network(**arguments)
        for module in list(made.modules()):
            if isinstance(module, NORMALIZED):
                spectral_norm(module)
        return made

    make.__wrapped__ = network  # type: ignore[attr-defined]  # so that its parameters can be asked for
    return make if wanted else network
