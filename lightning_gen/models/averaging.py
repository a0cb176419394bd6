"""Averaged weights: which tensors are averaged, and how to load them into a model."""

from typing import Any

import torch
from torch import Tensor

from lightning_gen.models.base import GenerativeModel
from lightning_gen.networks.spectral import follow_weights, is_singular_vector

EMA_STATE = "EMA"  # the key of the average among the callbacks' states in a checkpoint


def averaged_tensors(model: GenerativeModel) -> dict[str, Tensor]:
    """The floating-point parameters and buffers to average, by their names in the state dict.

    The singular vectors of spectral normalization are left out: a mean of unit vectors is not a unit vector, nor a
    singular vector of the averaged matrix.
    """
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in model.averaged_modules().items()
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point() and not is_singular_vector(name)
    }


@torch.no_grad()
def put_average(model: GenerativeModel, average: dict[str, Tensor]) -> None:
    """Copy averaged weights into the model, and compute the singular vectors that belong to them."""
    for name, tensor in averaged_tensors(model).items():
        tensor.copy_(average[name])
    for module in model.averaged_modules().values():
        follow_weights(module)


def load_average(model: GenerativeModel, checkpoint: dict[str, Any]) -> bool:
    """Load a checkpoint's averaged weights into the model; false if it has none."""
    state = checkpoint.get("callbacks", {}).get(EMA_STATE)
    if state is None or not state["average"]:
        return False
    put_average(model, state["average"])
    return True
