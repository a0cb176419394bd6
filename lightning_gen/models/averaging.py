"""The averaged weights of a model, and how they come out of a checkpoint."""

from typing import Any

from torch import Tensor

from lightning_gen.models.base import GenerativeModel

EMA_STATE = "EMA"  # where a checkpoint keeps the average, among the states of callbacks


def averaged_tensors(model: GenerativeModel) -> dict[str, Tensor]:
    """The floating-point parameters and buffers that an average follows, by their names in the state dict."""
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in model.averaged_modules().items()
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point()
    }


def load_average(model: GenerativeModel, checkpoint: dict[str, Any]) -> bool:
    """Put a checkpoint's averaged weights into the model; false if it holds none."""
    state = checkpoint.get("callbacks", {}).get(EMA_STATE)
    if state is None:
        return False
    now = averaged_tensors(model)
    for name, average in state["average"].items():
        now[name].copy_(average)
    return True
