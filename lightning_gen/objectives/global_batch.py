"""What several processes must know of each other's batches, so that they do what one would."""

import torch
from torch import Tensor


def rank_and_world() -> tuple[int, int]:
    """This process's rank, and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def gather(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes in the order of the global batch, [world * B, ...], with a gradient."""
    if rank_and_world()[1] == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))


def total(values: Tensor) -> Tensor:
    """The sum over the processes, without a gradient."""
    if rank_and_world()[1] == 1:
        return values
    values = values.detach().clone()
    torch.distributed.all_reduce(values)
    return values
