"""What several processes must know of each other's batches, so that they do what one would."""

import torch
from torch import Tensor


def several() -> bool:
    """Whether this is one process of several."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def gather(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes in the order of the global batch, [world * B, ...], with a gradient."""
    if not several():
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))


def total(values: Tensor) -> Tensor:
    """The sum over the processes, without a gradient."""
    if not several():
        return values
    values = values.detach().clone()
    torch.distributed.all_reduce(values)
    return values
