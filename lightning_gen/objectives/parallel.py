"""Statistics of the images of all devices, inside an objective; free where there is one device."""

import torch
from torch import Tensor


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean over the processes, with a gradient, so that several processes compute what one would."""
    if not _several():
        return values
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(values) / torch.distributed.get_world_size()


def of_all_processes(rows: Tensor) -> Tensor:
    """The rows [B, ...] of all processes, one after the other, with a gradient."""
    if not _several():
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(rows)))
