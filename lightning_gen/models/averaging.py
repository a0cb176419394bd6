"""The averaged weights of a model: which they are, how a model uses them, how they come out of a checkpoint."""

from typing import Any

import torch
from torch import Tensor

from lightning_gen.models.base import GenerativeModel
from lightning_gen.networks.spectral import follow_weights, is_singular_vector

EMA_STATE = "EMA"  # where a checkpoint keeps the average, among the states of callbacks


def averaged_tensors(model: GenerativeModel) -> dict[str, Tensor]:
    """The floating-point parameters and buffers that an average follows, by their names in the state dict.

    Not the singular vectors of spectral normalization: the mean of unit vectors is no unit vector, and belongs to no
    matrix.
    """
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in model.averaged_modules().items()
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point() and not is_singular_vector(name)
    }


@torch.no_grad()
def put_average(model: GenerativeModel, average: dict[str, Tensor]) -> None:
    """Make these the model's weights; singular vectors follow them."""
    for name, tensor in averaged_tensors(model).items():
        tensor.copy_(average[name])
    for module in model.averaged_modules().values():
        follow_weights(module)


def load_average(model: GenerativeModel, checkpoint: dict[str, Any]) -> bool:
    """Put a checkpoint's averaged weights into the model; false if it holds none, as before the first step."""
    state = checkpoint.get("callbacks", {}).get(EMA_STATE)
    if state is None or not state["average"]:
        return False
    put_average(model, state["average"])
    return True
