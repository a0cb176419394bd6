"""One job, from its config to its summary, in this process or in one process per device."""

import math
import sys
from pathlib import Path
from typing import Any

from lightning_gen.commands.terminal import report
from lightning_gen.distributed import has_lost_process, rank_from_environment
from lightning_gen.errors import INTERRUPTED, NotMeasured, UserError, quiet_libraries
from lightning_gen.files import write_atomically
from lightning_gen.interruption import StopRequest
from lightning_gen.networks.shapes import is_vector
from lightning_gen.progress import progress
from lightning_gen.report.finish import finish
from lightning_gen.runs.records import RESUMED_WITH
from lightning_gen.runs.run import Run
from lightning_gen.training.devices import accelerator_of, device_count
from lightning_gen.training.launch import launch
from lightning_gen.training.train import Parts, objective, prepare, train


class JobFailed(RuntimeError):
    """One of several processes failed and has reported why on standard error; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a process of this run ended with exit code {code}; standard error says why")
        self.code = code


def run_job(run: Run) -> float:
    """Check, train and report; returns what a sweep optimizes.

    Nothing in the run directory changes unless training starts.

    Raises:
        UserError: before training, for mistakes that the user can correct.
        JobFailed: training failed in a worker.
        KeyboardInterrupt: the run was asked to stop; if training had begun, its checkpoint is saved.
    """
    with StopRequest() as stop:
        return _job(run, stop)


def _job(run: Run, stop: StopRequest) -> float:
    quiet_libraries()
    rank, processes = rank_from_environment()
    if rank == 0:
        run.claim()
    try:
        with stop.at_once(), progress(None, "setting up data, model and evaluation"):
            parts = prepare(run, stop)
        before = _records(run) if run.config.resume else {}
        if rank == 0:
            run.save()
        try:
            return _train(run, parts, rank, processes)
        except Exception as error:
            if rank == 0 and before and isinstance(error, NotMeasured):
                for path, record in before.items():  # nothing was trained: the run stays as it was
                    path.unlink(missing_ok=True) if record is None else write_atomically(path, record)
            elif rank == 0:
                if isinstance(error, UserError):
                    run.write_summary(error=str(error))
                finish(run, "failed")  # the list of all runs says so
            raise
    finally:
        run.release()


def _records(run: Run) -> dict[Path, bytes | None]:
    """What a run that goes on writes before its first step, as it is; None: it does not exist."""
    paths = (run.path / name for name in ("config.yaml", "summary.json", RESUMED_WITH))
    return {path: path.read_bytes() if path.exists() else None for path in paths}


def announcement(run: Run, parts: Parts) -> str:
    """What begins now, in two lines: the training, and by what its samples are compared with real images."""
    config, data = run.config, parts.data
    size = "x".join(map(str, data.image_shape[data.image_shape[0] == 1 :]))  # without one grey channel
    if is_vector(data.image_shape):
        size = "the plane" if data.table is None else f"{len(data.table.columns)} columns"
    parameters = sum(parameter.numel() for parameter in parts.model.parameters()) / 1e6
    steps = f"{config.trainer.max_steps:,} steps of {config.dataset.batch_size} {data.unit}"
    if config.model.get("fit") == "em":
        steps = f"at most {config.trainer.max_steps:,} iterations over all of them"
    return (
        f"training {config.model.name} ({parameters:.2g} million parameters) on {config.dataset.name}: "
        f"{len(data.train):,} {data.unit} of {size}, {steps}, on {accelerator_of(config.trainer)}\n"
        f"{parts.callbacks.evaluation.evaluator.note}"
    )


def _train_here(run: Run, parts: Parts, processes: int) -> dict[str, Any]:
    """Train in this process, which torchrun or srun may have started with others."""
    try:
        return train(run, parts)
    except RuntimeError as error:
        if processes == 1 or not has_lost_process(error):
            raise
        seconds = run.config.trainer.process_timeout
        raise UserError(
            f"Another process of this run has ended, or did not answer for {seconds:g} seconds "
            f"(trainer.process_timeout): its output says why."
        ) from error


def _train(run: Run, parts: Parts, rank: int, processes: int) -> float:
    if rank == 0:
        print(announcement(run, parts), file=sys.stderr)
        if run.rollbacks:
            factor = math.prod(entry["lr_factor"] for entry in run.rollbacks)
            print(f"note: after {len(run.rollbacks)} rollbacks, learning rates are times {factor:g}", file=sys.stderr)
    devices = device_count(run.config.trainer)
    if processes == 1 and devices > 1:
        del parts  # each worker builds its own
        code = launch(run.path, devices, run.config.trainer.process_timeout)
        if code == INTERRUPTED:
            run.write_summary(status="interrupted")
        summary = run.read_summary()
        if code and code != INTERRUPTED:
            run.write_summary(status="failed")
            raise JobFailed(code)
    else:
        summary = _train_here(run, parts, processes)
    if rank == 0:
        with progress(None, "writing report.html"):
            finish(run, summary["status"])
        report(run, summary)
    if summary["status"] == "interrupted":
        raise KeyboardInterrupt
    return objective(run, summary)
