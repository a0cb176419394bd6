"""The two things that evaluation needs from torch.distributed, both free where there is one process."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if is_initialized() else (0, 1)


def all_reduce_sum(tensor: Tensor) -> None:
    """Sum a tensor over the processes, in place."""
    if not is_initialized() or dist.get_world_size() == 1:
        return
    if dist.get_backend() == "nccl" and not tensor.is_cuda:  # NCCL knows no CPU tensors
        copy = tensor.to(torch.device("cuda", torch.cuda.current_device()))
        dist.all_reduce(copy)
        tensor.copy_(copy)
    else:
        dist.all_reduce(tensor)


def all_agree(condition: bool) -> bool:
    """Whether the condition holds in every process, so that all take the same branch."""
    votes = torch.tensor([float(condition)])
    all_reduce_sum(votes)
    return int(votes.item()) == rank_and_world()[1]
