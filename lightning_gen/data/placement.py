"""Where the training images are kept: on the device, in host memory, or on disk."""

import os
from pathlib import Path

import torch

from lightning_gen.data.imageset import ImageSet
from lightning_gen.errors import UserError

PLACES = ("auto", "device", "host", "stream")


def check_budget(asked: str, fraction: float) -> None:
    """Check `dataset.placement` and `dataset.memory_fraction`.

    Raises:
        UserError: an unknown placement, or a fraction outside (0, 1].
    """
    if asked not in PLACES:
        raise UserError(f"dataset.placement={asked} does not exist: use one of {', '.join(PLACES)}.")
    if not 0 < fraction <= 1:
        raise UserError(f"dataset.memory_fraction={fraction}: use a number above 0 and up to 1.")


def place(data: ImageSet, device: torch.device, asked: str, fraction: float, processes: int) -> str:
    """`device`, `host` or `stream`: the first place where the images fit into `fraction` of the free memory.

    Images that are not a mapped file are in host memory already.

    Args:
        data: the training images.
        device: where training runs.
        asked: `auto`, or the place to use.
        fraction: largest share of the free memory to use, in (0, 1].
        processes: processes on this host, which share its memory.

    Raises:
        UserError: `asked` is `stream`, but the images are in memory.
    """
    if data.stream is not None:
        return "stream"
    if asked == "stream" and not data.mapped:
        raise UserError(
            "dataset.placement=stream is for images on disk, and these are in memory: use device or host."
        )
    if asked != "auto":
        return asked
    if device.type != "cpu" and data.nbytes <= fraction * free_device_memory(device):
        return "device"
    if not data.mapped or data.nbytes <= fraction * free_host_memory() / processes:
        return "host"
    return "stream"


def put(data: ImageSet, where: str, device: torch.device) -> ImageSet:
    """Move the images to their place."""
    if where == "device":
        return data.to(device)
    if where == "host" and data.mapped:
        return data.with_images(data.images.clone())  # read the file once from start to end, not page by page
    return data


def free_device_memory(device: torch.device) -> int:
    """Free bytes on the device; if it shares the host's memory, those of the host."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_host_memory()


def free_host_memory() -> int:
    """Bytes that are available without swapping, within the limit of the container if there is one."""
    free = _available()
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    return free if limit is None or used is None else min(free, max(limit - used, 0))


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux: half of the installed memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # "max": no limit
        return None
