"""From the hardware config to a Trainer that is right for this model."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_gen.errors import UserError
from lightning_gen.launch import rank_from_environment
from lightning_gen.run import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are either whole or not there, also after a kill or a full disk.

    Lightning writes to the system's temporary folder and moves the file from there, which is a copy when that is
    another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        import io

        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())


def accelerator_of(trainer: DictConfig) -> str:
    """`cuda`, `mps` or `cpu`.

    Raises:
        UserError: the accelerator asked for is not there.
    """
    asked = {"gpu": "cuda"}.get(trainer.accelerator, trainer.accelerator)
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if trainer.accelerator == "gpu" and not torch.cuda.is_available() and torch.backends.mps.is_available():
        return "mps"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu, but no GPU is visible here: use hardware=auto or hardware=cpu.")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.accelerator=mps, but there is none here: use hardware=auto or hardware=cpu.")
    if asked not in ("cpu", "cuda", "mps"):
        raise UserError(f"trainer.accelerator={trainer.accelerator} is not known: use auto, cpu, gpu or mps.")
    return asked


def device_count(trainer: DictConfig) -> int:
    """How many processes this node runs.

    Raises:
        UserError: more GPUs than there are, or a number that is none.
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


def process_count(trainer: DictConfig) -> int:
    """Processes of the whole run, over all nodes.

    Raises:
        UserError: several nodes without a launcher, or a launcher that started another number of processes.
    """
    count, (_, running) = device_count(trainer) * trainer.num_nodes, rank_from_environment()
    if trainer.num_nodes > 1 and running == 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes} needs srun or torchrun, which start a task a device.")
    if running > 1 and running != count:
        raise UserError(
            f"{running} processes were started, but trainer.devices={trainer.devices} on "
            f"trainer.num_nodes={trainer.num_nodes} are {count}: make them equal."
        )
    return count


def strategy_of(trainer: DictConfig, model: Any, processes: int) -> str:
    """The strategy's name: `auto` becomes the right one for this model.

    With two optimizers, each backward pass leaves the other network's parameters out, and so does layer-wise
    pretraining: plain ddp refuses.
    """
    if trainer.strategy != "auto" or processes == 1:
        return trainer.strategy
    whole = model.automatic_optimization and not model.leaves_parameters_out
    return "ddp" if whole else "ddp_find_unused_parameters_true"


def make_trainer(
    config: DictConfig, model: Any, run_dir: Path, callbacks: list[Callback], loggers: list[Logger]
) -> Trainer:
    """A Trainer whose steps are counted, logged and saved as this package does, not by epochs."""
    options = dict(OmegaConf.to_container(config.trainer, resolve=True))  # type: ignore[arg-type]
    accelerator, devices = accelerator_of(config.trainer), device_count(config.trainer)
    processes = devices * config.trainer.num_nodes
    matmul_precision = options.pop("float32_matmul_precision")
    torch.set_float32_matmul_precision(matmul_precision)
    options["sync_batchnorm"] = bool(options["sync_batchnorm"]) and accelerator == "cuda" and processes > 1
    options["strategy"] = strategy_of(config.trainer, model, processes)
    options["accelerator"] = accelerator
    if not OmegaConf.is_list(config.trainer.devices):
        options["devices"] = devices
    if not model.automatic_optimization:
        leave_to_model(options, model)
    try:
        return _trainer(options, run_dir, callbacks, loggers)
    except (ValueError, MisconfigurationException) as error:
        message = " ".join(str(error).split())
        named = [
            f"trainer.{k}={v}" for k, v in config.trainer.items() if str(k) in message.lower() and str(v) in message
        ]
        raise UserError(f"{', '.join(named) or 'trainer'} is not possible: {message}") from error


def leave_to_model(options: dict[str, Any], model: Any) -> None:
    """Clipping and accumulation, which Lightning does not do under manual optimization.

    Raises:
        UserError: this model does not do them either, or an algorithm that is not known.
    """
    limit, algorithm = options.pop("gradient_clip_val"), options.pop("gradient_clip_algorithm") or "norm"
    batches = options.pop("accumulate_grad_batches")
    if algorithm not in ("norm", "value"):
        raise UserError(f"trainer.gradient_clip_algorithm={algorithm} is not known: use norm or value.")
    if model.clips_itself:
        model.clipping.limit, model.clipping.algorithm = limit, algorithm
        model.accumulate(batches)
    elif limit is not None or batches != 1:
        raise UserError(
            f"trainer.gradient_clip_val and trainer.accumulate_grad_batches do not work with the steps of "
            f"{type(model).__name__}; leave them null and 1."
        )


def _trainer(options: dict, run_dir: Path, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    return Trainer(
        **options,
        max_epochs=-1,  # progress is counted in steps: the training stream has no end
        limit_val_batches=0,  # the evaluation callback does it, on its own cadence
        num_sanity_val_steps=0,
        default_root_dir=run_dir,
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
    )
