"""Check everything, then train, evaluate and record one run: `prepare` and `train`."""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import ConfigAttributeError, ConfigKeyError
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_gen.config.build import build, build_data, build_model
from lightning_gen.config.explain import lacks
from lightning_gen.config.validate import check_batch, validate
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, one_line
from lightning_gen.evaluation.build import build_evaluator
from lightning_gen.interruption import StopRequest
from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.provenance import peak_memory, provenance
from lightning_gen.runs.resume import check_checkpoint, check_steps
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.build import Callbacks, build_callbacks
from lightning_gen.training.devices import accelerator_of, order_backward_passes, process_count
from lightning_gen.training.divergence import Diverged, lowered_rates, roll_back
from lightning_gen.training.fill_in import fill_in, load_encoder
from lightning_gen.training.loggers.metrics_csv import MetricsCSV
from lightning_gen.training.loggers.send import finish
from lightning_gen.training.privacy import keep_secret, make_private
from lightning_gen.training.privacy import summary as privacy_summary
from lightning_gen.training.trainer import make_trainer


@dataclass
class Parts:
    """The parts of a run, built and checked."""

    data: ImageDataModule
    model: GenerativeModel
    callbacks: Callbacks
    trainer: Trainer
    checkpoint: Path | None  # to resume from
    stop: StopRequest


def prepare(run: Run, stop: StopRequest | None = None) -> Parts:
    """Check and build everything before training, so that a mistake costs seconds.

    `stop`: active while the run is prepared and trained.

    Raises:
        UserError: names the override to change.
    """
    try:
        return _prepared(run, stop or StopRequest())
    except (ConfigAttributeError, ConfigKeyError) as error:  # of a config that was not composed from conf/
        raise UserError(lacks(str(error.full_key))) from error


def _prepared(run: Run, stop: StopRequest) -> Parts:
    config = run.config
    validate(config)
    check_batch(config.dataset.batch_size, process_count(config.trainer))
    checkpoint, state = (run.checkpoint_to_resume() if config.resume else None) or (None, None)
    if state is not None:
        check_steps(config.trainer.max_steps, state["global_step"])
    seed_everything(config.seed, verbose=False)
    data = build_data(config)
    fill_in(run, data)
    model = build_model(config, data.image_shape, data.table)
    if not config.resume:
        load_encoder(run, model)
    make_private(run, model, data)
    if state is not None:
        check_checkpoint(data.image_shape, model.state_dict(), state, data.table)
    model.see_data(data, fresh=checkpoint is None)
    with torch.random.fork_rng(devices=[]):
        evaluator = build_evaluator(config, data, torch.device(accelerator_of(config.trainer)))
    if config.resume and not run.rollbacks:
        run.rollbacks = run.read_summary().get("rollbacks", [])
    model.lowered = lowered_rates(run.rollbacks)
    callbacks = build_callbacks(run, model, evaluator, stop)
    trainer = make_trainer(config, model, run.path, callbacks.in_order(), build_loggers(run))
    model.check_training(trainer)
    return Parts(data, model, callbacks, trainer, checkpoint, stop)


def train(run: Run, parts: Parts | None = None) -> dict[str, Any]:
    """Train the run in this process, which may be one of several, and return its summary.

    Raises:
        KeyboardInterrupt: the run was asked to stop before training began, or a second Ctrl-C came.
        Diverged: training has diverged, and `on_divergence` is `stop` or did not help.
    """
    with parts.stop if parts else StopRequest() as stop:
        if parts is None:
            with stop.at_once():
                parts = prepare(run, stop)
        while True:
            try:
                return _train(run, parts)
            except Diverged as error:
                run.path = parts.callbacks.saver.folder.parent
                roll_back(run, error, writes=parts.trainer.is_global_zero)
            vars(parts).clear()  # frees the memory of the device before everything is built again
            gc.collect()
            parts = prepare(run, stop)


def _train(run: Run, parts: Parts) -> dict[str, Any]:
    trainer, callbacks = parts.trainer, parts.callbacks
    status, summary = "failed", {}
    try:
        log_config(trainer, run.recorded(), parts.model)
        if trainer.is_global_zero:
            run.write_summary(unit=parts.data.unit)  # now, for the report of a run that trains
            keep_secret(run.path, parts.model)
        order_backward_passes(trainer.strategy.root_device)
        trainer.fit(parts.model, datamodule=parts.data, ckpt_path=parts.checkpoint, weights_only=True)
        if not callbacks.evaluation.ended:  # no step was left to do, but the evaluation at the end may be
            parts.model.to(trainer.strategy.root_device)
            callbacks.evaluation.on_train_end(trainer, parts.model)
            callbacks.saver.save_last(trainer, parts.model)
        pruned = callbacks.pruning is not None and callbacks.pruning.pruned
        early = callbacks.early_stopping(trainer.max_steps) is not None
        status = "pruned" if pruned else "stopped early" if early else "completed"
        status = "interrupted" if parts.stop.asked else status
    except MisconfigurationException as error:  # such as a training_step that returns a number
        raise UserError(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if parts.model.compiled and type(error).__module__.startswith("torch._"):  # there is no compiler, for example
            raise UserError(
                f"trainer.compile=true does not work here: {one_line(error)}. Set it to false."
            ) from error
        raise
    except (KeyboardInterrupt, SystemExit):  # a second Ctrl-C, and what Lightning makes of it
        status = "interrupted"
        raise KeyboardInterrupt from None
    finally:
        try:
            summary = record_summary(run, parts, status)
        finally:
            finish(trainer.loggers, summary, failed=status == "failed")
    return summary


def build_loggers(run: Run) -> list[Logger]:
    """metrics.csv, and the loggers chosen by `logger`; a builder returns None if there is nothing to log to."""
    chosen = [build(node, run=run) for node in (run.config.get("logger") or {}).values()]
    return [MetricsCSV(run.path / "metrics.csv"), *(logger for logger in chosen if logger is not None)]


def log_config(trainer: Trainer, config: Any, model: GenerativeModel) -> None:
    """Send the resolved config and the numbers of parameters, of the model and its modules, to every logger."""
    from omegaconf import OmegaConf

    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_children()}
    counts = {name: count for name, count in counts.items() if count}
    total = sum(p.numel() for p in model.parameters())
    for logger in trainer.loggers:
        params: Any = OmegaConf.to_container(config, resolve=True)
        logger.log_hyperparams({**params, "num_parameters": {"total": total, **counts}})


def record_summary(run: Run, parts: Parts, status: str) -> dict[str, Any]:
    """Write summary.json on rank 0 and return it."""
    trainer = parts.trainer
    saver, log, evaluation = parts.callbacks.saver, parts.callbacks.log, parts.callbacks.evaluation
    early = parts.callbacks.early_stopping(trainer.max_steps)
    seconds = log.seconds()
    progress = {
        "step": trainer.global_step,
        "images_seen": parts.model.images_seen,
        "seconds": round(seconds, 2),
        "images_per_second": round(parts.model.images_seen / seconds, 1) if seconds else 0.0,
        "peak_memory_gib": round(peak_memory(trainer.strategy.root_device), 2),
        "waiting_for_data": _share_waiting(parts),
    }
    parts_of_summary = {
        "metrics": log.latest | evaluation.metrics,
        "best": {"metric": saver.monitor, "value": saver.best, "step": saver.best_step},
        "progress": progress,
        "parameters": sum(parameter.numel() for parameter in parts.model.parameters()),
        "protocol": evaluation.protocol,
        "provenance": provenance(run, trainer),
        "warnings": evaluation.warnings,
        "early_stopping": early and {"step": early.stopped_at, "metric": early.monitor, "patience": early.patience},
        "status": status,
    }
    parts_of_summary |= privacy_summary(parts.model, trainer.global_step)
    return run.write_summary(**parts_of_summary) if trainer.is_global_zero else parts_of_summary


def _share_waiting(parts: Parts) -> float:
    """The share of this process's training time in which it waited for batches."""
    loader, seconds = parts.data.loader, parts.callbacks.log.seconds_here()
    return round(loader.seconds / seconds, 6) if loader and seconds else 0.0


def objective(run: Run, summary: dict[str, Any]) -> float:
    """What a sweep optimizes: the best value of `checkpoint.monitor`, or NaN if there is none."""
    value = summary.get("best", {}).get("value")
    return float("nan") if value is None else float(value)
