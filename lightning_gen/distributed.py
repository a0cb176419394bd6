"""What the processes of one run exchange. With a single process, every function is free.

torch is imported inside the functions, because the command line asks for the rank before it needs torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BUCKET = 25 * 2**20  # bytes of gradients in one message, as in DistributedDataParallel


def rank_from_environment() -> tuple[int, int]:
    """The global rank and the number of processes as set by torchrun or SLURM; (0, 1) without either."""
    if "WORLD_SIZE" in os.environ:
        return int(os.environ.get("RANK", 0)), int(os.environ["WORLD_SIZE"])
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(os.environ.get("SLURM_PROCID", 0)), int(os.environ["SLURM_NTASKS"])
    return 0, 1


def rank_and_world() -> tuple[int, int]:
    """The rank of this process and the number of processes, according to torch.distributed."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def all_reduce_sum(tensor: Tensor) -> None:
    """Sum a tensor over the processes, in place, without a gradient."""
    import torch
    from torch import distributed

    if rank_and_world()[1] == 1:
        return
    if distributed.get_backend() == "nccl" and not tensor.is_cuda:  # NCCL cannot reduce CPU tensors
        copy = tensor.to(torch.device("cuda", torch.cuda.current_device()))
        distributed.all_reduce(copy)
        tensor.copy_(copy)
    else:
        distributed.all_reduce(tensor)


def total(values: Tensor) -> Tensor:
    """The sum over the processes, as a new tensor without a gradient."""
    if rank_and_world()[1] == 1:
        return values
    values = values.detach().clone()
    all_reduce_sum(values)
    return values


def has_lost_process(error: BaseException) -> bool:
    """Whether the error says that another process of the run has ended or did not answer in time."""
    from torch import distributed

    known = isinstance(error, distributed.DistError)
    return known or (isinstance(error, RuntimeError) and re.search("gloo|NCCL|TCPStore", str(error)) is not None)


def all_agree(condition: bool) -> bool:
    """Whether the condition holds in every process. All processes get the same answer."""
    import torch

    votes = torch.tensor([float(condition)])
    all_reduce_sum(votes)
    return int(votes.item()) == rank_and_world()[1]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients of the parameters by their means over the processes, in a few large messages.

    Every process must have gradients for the same parameters.
    """
    world = rank_and_world()[1]
    if world == 1:
        return
    import torch
    from torch import distributed

    sent = []
    for gradients in buckets([p.grad for p in parameters if p.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in gradients]).div_(world)
        sent.append((gradients, flat, distributed.all_reduce(flat, async_op=True)))
    for gradients, flat, work in sent:
        assert work is not None
        work.wait()
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def buckets(tensors: Sequence[Tensor], size: int = BUCKET) -> list[list[Tensor]]:
    """The tensors in order, in groups of one type and of at most `size` bytes, unless a single one is larger."""
    groups: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        if not groups or tensor.dtype != groups[-1][0].dtype or tensor.nbytes > room:
            groups.append([])
            room = size
        groups[-1].append(tensor)
        room -= tensor.nbytes
    return groups


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean over the processes, with a gradient."""
    world = rank_and_world()[1]
    if world == 1:
        return values
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(values) / world


def of_all_processes(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes in the order of the global batch: [world * B, ...], with a gradient."""
    if rank_and_world()[1] == 1:
        return rows
    import torch
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(rows.contiguous())))
