"""Which code, versions, device and command produced a run."""

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer

from lightning_gen.runs.run import Run

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def provenance(run: Run, trainer: Trainer) -> dict[str, Any]:
    """The entry `provenance` of summary.json: git state, versions, device, seed, command and time."""
    packages = ("lightning-gen", "torch", "torchvision", "pytorch-lightning", "hydra-core", "torchmetrics")
    return {
        "git": git_state(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
        "device": device_name(trainer, varying=run.config.trainer.get("threads") == "auto"),
        "seed": run.config.seed,
        "command": run.config.command,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def device_name(trainer: Trainer, varying: bool = False) -> str:
    """Number and name of the devices, with the number of CPU cores and of PyTorch's threads, unless it varies."""
    device = trainer.strategy.root_device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    used = "a varying number of threads" if varying else threads(torch.get_num_threads())
    return f"{trainer.world_size} x {device.type} ({kind}, {os.cpu_count()} cores, {used})"


def threads(count: int) -> str:
    """`1 thread`, or `2 threads`."""
    return f"{count} thread{'s' if count > 1 else ''}"


def peak_memory(device: torch.device) -> float:
    """The most memory that this process has had, in GiB: on its GPU if it has one, else in the host's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if resource is None:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # bytes or KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "not installed"


def git_state() -> str | None:
    """`git describe` of the checkout that contains this package, with `-dirty`; None outside of a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
