"""Where scalars and pictures go: always metrics.csv, and the choices of `logger`."""

import csv
import io
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any

import torch
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_gen.errors import UserError
from lightning_gen.files import write_atomically
from lightning_gen.ranges import Positive
from lightning_gen.runs.run import Run
from lightning_gen.training.wandb_record import NOTHING, Extras


class MetricsCSV(Logger):
    """metrics.csv: one row per logged step, with columns for step, images_seen, seconds and every metric.

    A resumed run continues the file: rows after the step that training resumes from are dropped. A row is on disk
    when `log_metrics` returns, and only the last one is kept in memory. A new column rewrites the file atomically.
    Values without `images_seen` are those of Lightning's callbacks; they join the row of the step in which they come.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = ["step", "images_seen"]
        self._last: dict[str, str] = {}  # the last row
        self._last_at = 0  # where it begins in the file
        self._waiting: dict[str, str] = {}  # values for the next row
        self.clock: Callable[[], float] | None = None  # seconds of training so far, for the column `seconds`
        if path.exists():
            with open(path, newline="", encoding="utf-8") as file:
                self.columns = list(csv.DictReader(file).fieldnames or self.columns)

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: config.yaml holds the config."""

    @rank_zero_only
    def drop_after(self, step: int) -> None:
        """Drop rows after `step`."""
        self._rewrite(row for row in self._rows() if int(row["step"]) <= step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self._last and self.path.exists():  # finds the last row of a run that has ended
            self._rewrite(self._rows())
        row = {"step": str(step)} | {key: repr(value) for key, value in metrics.items()}
        last = int(self._last.get("step", 0))
        if "images_seen" in metrics:
            seconds = {} if self.clock is None else {"seconds": f"{self.clock():.2f}"}
            row, self._waiting = {**self._waiting, **row, **seconds}, {}
        elif step is None or step < last:  # a callback of Lightning counts the steps before this one
            row["step"] = str(last)
        else:  # it reports at the beginning of a step
            self._waiting |= row
            return
        again = row["step"] == self._last.get("step")  # training and evaluation share the row of a step
        if again:
            row = {**self._last, **row}
        new = [key for key in row if key not in self.columns]
        self.columns += new
        if new or not self.path.exists():
            others = (other for other in self._rows() if other["step"] != row["step"])
            self._rewrite(chain(others, [row]))
            return
        with open(self.path, "r+b") as file:
            self._last, self._last_at = row, file.seek(self._last_at) if again else file.seek(0, os.SEEK_END)
            file.write(self._line(row))
            file.truncate()

    def _rows(self) -> Iterator[dict[str, str]]:
        """The rows on disk; a kill may have left an incomplete one at the end."""
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                yield from (row for row in csv.DictReader(file) if None not in row.values())

    def _rewrite(self, rows: Iterable[dict[str, str]]) -> None:
        def write(file: IO[bytes]) -> None:
            file.write(self._line({column: column for column in self.columns}))
            self._last = {}
            for row in rows:
                self._last, self._last_at = row, file.tell()
                file.write(self._line(row))

        write_atomically(self.path, write)

    def _line(self, row: Mapping[str, str]) -> bytes:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, restval="").writerow(row)
        return text.getvalue().encode()


def record(trainer: Trainer, metrics: Mapping[str, float | torch.Tensor], images_seen: int) -> None:
    """Send the scalars of this step to every logger, together with `images_seen`.

    They also go to `trainer.callback_metrics`, for callbacks that watch a metric. `self.log` is not used because it
    costs 0.3 ms per scalar at every step and counts steps differently under manual optimization.
    """
    values = {key: float(value) for key, value in metrics.items()}
    trainer.callback_metrics.update({key: torch.tensor(value) for key, value in values.items()})
    for logger in trainer.loggers:
        logger.log_metrics({**values, "images_seen": images_seen}, step=trainer.global_step)


def log_picture(trainer: Trainer, name: str, picture: Image.Image) -> None:
    """Send a picture to the loggers that can show it, with the step and the images seen."""
    import numpy as np

    step = trainer.global_step
    images = trainer.lightning_module.images_seen
    for logger in trainer.loggers:
        if hasattr(logger, "log_picture"):
            logger.log_picture(name, picture, step, f"{name}: step {step:,}, {images:,} images seen")
        elif type(logger).__name__ == "TensorBoardLogger":
            array = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, array, step, dataformats="HWC")  # type: ignore[attr-defined]


def finish(loggers: Iterable[Logger], summary: Mapping[str, Any], failed: bool) -> None:
    """End the records of loggers that have an end, with what the run has come to."""
    kept = {name: summary[name] for name in ("best", "progress", "parameters", "status") if name in summary}
    for logger in loggers:
        if hasattr(logger, "finish"):
            logger.finish(kept, failed)


def wandb_logger(
    run: Run,
    mode: str,
    project: str,
    entity: str | None,
    group: str | None,
    tags: list[str],
    extras: Extras = NOTHING,
    timeout: Positive = 60.0,
) -> Logger | None:
    """A wandb logger in the run directory, under the run's ID, so that a resumed run continues the same record.

    Args:
        run: the run.
        mode: online, offline, disabled, or auto, which is online if the user is logged in and otherwise offline.
        project: the project in wandb.
        entity: the user or team in wandb; None: the default one.
        group: None: the sweep of the run, or else its data set and model.
        tags: added to the model, the data set and the sweep.
        extras: what is recorded only on request.
        timeout: the most seconds that the end of training waits for wandb.

    Raises:
        UserError: an unknown mode, or `online` without being logged in.
    """
    from lightning_gen.training.wandb_record import WandbRecord, has_credentials, logged_in

    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("auto" if has_credentials() else "offline")
    elif mode == "online" and not (has_credentials() and logged_in()):
        raise UserError(
            "logger.wandb.mode=online, but wandb is not logged in: run `wandb login`, or logger.wandb.mode=offline."
        )
    if mode == "disabled":
        return None
    if mode not in ("auto", "online", "offline"):
        raise UserError(f"logger.wandb.mode={mode} is not known: use auto, online, offline or disabled.")
    model, dataset, sweep = run.config.model.name, run.config.dataset.name, sweep_of(run)
    start = {
        "id": run.config.id,
        "name": f"{dataset}-{model}-{run.path.name}",
        "project": project,
        "entity": entity,
        "group": group or sweep or f"{dataset}-{model}",
        "job_type": "trial" if is_trial(run) else "run",
        "tags": list(dict.fromkeys([model, dataset, *([sweep] if sweep else []), *tags])),
        "dir": str(run.path),
        "mode": mode,
    }
    return WandbRecord(start, extras, timeout)


def sweep_of(run: Run) -> str | None:
    """The name of the grid or search that the run is a job of: that of its folder; None: the run is no job."""
    folders = [folder for folder in list(run.path.parents)[:2] if (folder / "multirun.yaml").is_file()]
    return folders[0].name if folders else None


def is_trial(run: Run) -> bool:
    """Whether the run is a trial of a search."""
    return OmegaConf.select(run.config, "sweep.trial") is not None


def mlflow_logger(run: Run, project: str, timeout: Positive = 60.0) -> Logger:
    """An MLflow logger with its database in `mlflow/` of the run directory; a resumed run continues its record.

    Args:
        run: the run.
        project: the experiment in MLflow.
        timeout: the most seconds that the end of training waits for MLflow.

    Raises:
        UserError: the package is not installed.
    """
    from lightning_gen.training.other_records import MLflowRecord

    _check_installed("mlflow", "sqlalchemy")
    folder = run.path / "mlflow"
    return MLflowRecord({**_named(run), "project": project, "dir": str(folder)}, timeout)


def trackio_logger(run: Run, project: str, timeout: Positive = 60.0) -> Logger:
    """A Trackio logger on this machine; a resumed run continues its record.

    Args:
        run: the run.
        project: the project in Trackio.
        timeout: the most seconds that the end of training waits for Trackio.

    Raises:
        UserError: the package is not installed.
    """
    from lightning_gen.training.other_records import TrackioRecord

    _check_installed("trackio")
    group = sweep_of(run) or f"{run.config.dataset.name}-{run.config.model.name}"
    return TrackioRecord({**_named(run), "project": project, "group": group}, timeout)


def _named(run: Run) -> dict[str, str]:
    return {"id": run.config.id, "name": f"{run.config.dataset.name}-{run.config.model.name}-{run.config.id}"}


def _check_installed(name: str, *others: str) -> None:
    """Raise a UserError if the package of a logger, or one that it needs, is missing."""
    if any(find_spec(package) is None for package in (name, *others)):
        raise UserError(f"logger={name} needs `pip install 'lightning-gen[{name}]'`, or use logger=csv.")


def tensorboard_logger(run: Run) -> Logger:
    """A TensorBoard logger in the run directory.

    Raises:
        UserError: the package is not installed.
    """
    from pytorch_lightning.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(run.path, name="tensorboard", version="")
    except ModuleNotFoundError:
        raise UserError("logger=tensorboard needs `pip install tensorboard`, or use logger=csv.") from None
