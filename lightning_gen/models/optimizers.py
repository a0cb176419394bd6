"""What training does to an optimizer besides its steps."""

from typing import Any

import torch
from torch import Tensor


def clear_gradients(optimizer: Any) -> None:
    """Set all gradients to None."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def lay_out_state(optimizer: torch.optim.Optimizer) -> None:
    """Lay out in memory what the optimizer keeps of each weight as the weight is.

    A checkpoint keeps the layout that it was written with, which `trainer.channels_last` may have changed since then;
    fused optimizers take values that lie at the same place in memory for those of the same weight.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
