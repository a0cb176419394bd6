"""What processes must know of each other's batches, to do what one would; free where there is one."""

import torch
from torch import Tensor


def rank_and_world() -> tuple[int, int]:
    """This process's rank, and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean over the processes, with a gradient."""
    world = rank_and_world()[1]
    if world == 1:
        return values
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(values) / world


def of_all_processes(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes in the order of the global batch, [world * B, ...], with a gradient."""
    if rank_and_world()[1] == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(rows.contiguous())))


def total(values: Tensor) -> Tensor:
    """The sum over the processes, without a gradient."""
    if rank_and_world()[1] == 1:
        return values
    values = values.detach().clone()
    torch.distributed.all_reduce(values)
    return values
