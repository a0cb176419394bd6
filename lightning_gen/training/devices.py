"""Which devices a run uses, and how many processes."""

import os

import torch
from omegaconf import DictConfig, OmegaConf

from lightning_gen.distributed import rank_from_environment
from lightning_gen.errors import UserError

AHEAD = 20_000  # operations, many times those that the gradients in a step's penalties record


def accelerator_of(trainer: DictConfig) -> str:
    """`cuda`, `mps` or `cpu`.

    Raises:
        UserError: the accelerator is unknown or not available.
    """
    asked = {"gpu": "cuda"}.get(trainer.accelerator, trainer.accelerator)
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if trainer.accelerator == "gpu" and not torch.cuda.is_available() and torch.backends.mps.is_available():
        return "mps"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu, but no GPU is visible: use hardware=auto or hardware=cpu.")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.accelerator=mps, but this machine has no MPS: use hardware=auto or hardware=cpu.")
    if asked not in ("cpu", "cuda", "mps"):
        raise UserError(f"trainer.accelerator={trainer.accelerator} is not known: use auto, cpu, gpu or mps.")
    return asked


def device_count(trainer: DictConfig) -> int:
    """The number of processes on this node, one per device.

    Raises:
        UserError: more GPUs than there are, or not a number of devices.
    """
    accelerator, devices = accelerator_of(trainer), trainer.devices
    available = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator)
    if devices in ("auto", -1, "-1"):
        return available or 1
    try:
        count = len(devices) if OmegaConf.is_list(devices) else int(devices)
    except ValueError:
        raise UserError(f"trainer.devices={devices} is not a number: use auto, 1, 2, ... .") from None
    if count < 1:
        raise UserError(f"trainer.devices={devices}: use auto, 1, 2, ... .")
    if available is not None and count > available:
        has = f"{available} GPU" if available == 1 else f"{available} GPUs"
        raise UserError(
            f"trainer.devices={devices}, but this machine has {has}: use at most trainer.devices={available}."
        )
    return count


def device_of(trainer: DictConfig) -> torch.device:
    """The device of a run with one process."""
    accelerator, devices = accelerator_of(trainer), trainer.devices
    index = (devices[0] if OmegaConf.is_list(devices) else 0) if accelerator == "cuda" else None
    return torch.device(accelerator) if index is None else torch.device(accelerator, index)


def process_count(trainer: DictConfig) -> int:
    """The number of processes of the run, over all nodes.

    Raises:
        UserError: several nodes without a launcher, a launcher that started another number of processes, or tasks
            of SLURM that cannot be the processes of one run.
    """
    count, (_, running) = device_count(trainer) * trainer.num_nodes, rank_from_environment()
    if trainer.num_nodes > 1 and running == 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes} needs srun or torchrun, one process per device.")
    if running > 1 and "WORLD_SIZE" not in os.environ:
        _check_tasks(running)
    if running > 1 and running != count:
        raise UserError(
            f"{running} processes were started, but trainer.devices={trainer.devices} and "
            f"trainer.num_nodes={trainer.num_nodes} make {count}: make them equal."
        )
    return count


def _check_tasks(tasks: int) -> None:
    """Refuse what Lightning answers with a traceback, and a job that would wait for processes that nobody starts."""
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        raise UserError(
            f"This job of SLURM has --ntasks={tasks}, which does not say how many processes each node has: "
            f"use --ntasks-per-node={-(-tasks // nodes)}."
        )
    if "SLURM_STEP_ID" not in os.environ:
        raise UserError(
            f"This job of SLURM has {tasks} tasks, but srun did not start this process: "
            "use `srun python train.py ...`, or --ntasks-per-node=1."
        )


def order_backward_passes(device: torch.device) -> None:
    """Let the backward passes of the first steps add up gradients in the order of all later steps.

    PyTorch numbers the operations that it records, in each thread by itself, and a backward pass makes them in the
    order of their numbers. A gradient that is differentiated again, as by R1, is recorded in the thread of a GPU. In
    the first steps of a process its numbers are among those of the main thread, later they are all lower, because the
    main thread records more in each step. So without this a resumed run would differ in the last digits from one that
    was not interrupted.
    """
    if device.type == "cpu":  # where all is recorded in one thread
        return
    counted = torch.zeros(1, requires_grad=True)
    for _ in range(AHEAD):
        counted.view(1)
