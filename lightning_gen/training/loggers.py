"""Where scalars and pictures go: always metrics.csv, and wandb, TensorBoard or both."""

import csv
import io
import netrc
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_gen.errors import UserError
from lightning_gen.files import write_atomically
from lightning_gen.runs.run import Run


class MetricsCSV(Logger):
    """metrics.csv: one row per logged step, with columns for step, images_seen and every metric.

    A resumed run continues the file: rows after the step that training resumes from are dropped. A row is on disk
    when `log_metrics` returns. A new column rewrites the file atomically.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = ["step", "images_seen"]
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with open(path, newline="") as file:
                reader = csv.DictReader(file)
                self.rows = [row for row in reader if None not in row.values()]  # the last row may be incomplete
                self.columns = list(reader.fieldnames or self.columns)

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
        self.rows = [row for row in self.rows if int(row["step"]) <= step]
        self._rewrite()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {"step": str(step)} | {key: repr(value) for key, value in metrics.items()}
        if self.rows and self.rows[-1]["step"] == row["step"]:
            self.rows[-1] = {**self.rows[-1], **row}  # training and evaluation share the row of a step
            new, append = [key for key in row if key not in self.columns], False
        else:
            self.rows.append(row)
            new, append = [key for key in row if key not in self.columns], self.path.exists()
        self.columns += new
        if new or not append:
            self._rewrite()
        else:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())


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
    """Send a picture to the loggers that can show it."""
    import numpy as np

    for logger in trainer.loggers:
        if type(logger).__name__ == "WandbLogger":
            logger.log_image(name, [picture], step=trainer.global_step)  # type: ignore[attr-defined]
        elif type(logger).__name__ == "TensorBoardLogger":
            array = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, array, trainer.global_step, dataformats="HWC")  # type: ignore[attr-defined]


def wandb_logger(run: Run, mode: str, project: str, entity: str | None, group: str | None, tags: list[str]) -> Logger:
    """A wandb logger in the run directory, under the run's ID, so that a resumed run continues the same record.

    `mode`: online, offline, disabled, or auto, which is online if the user is logged in and otherwise offline.

    Raises:
        UserError: an unknown mode, or `online` without being logged in.
    """
    from pytorch_lightning.loggers import WandbLogger

    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_credentials() and _wandb_login() else "offline")
    elif mode == "online" and not (_has_credentials() and _wandb_login()):
        raise UserError(
            "logger.wandb.mode=online, but wandb is not logged in: run `wandb login`, or logger.wandb.mode=offline."
        )
    if mode not in ("online", "offline", "disabled"):
        raise UserError(f"logger.wandb.mode={mode} is not known: use auto, online, offline or disabled.")
    config = run.config
    return WandbLogger(
        name=f"{config.dataset.name}-{config.model.name}-{run.path.name}",
        id=config.id,
        resume="allow",
        save_dir=run.path,
        project=project,
        entity=entity,
        group=group,
        tags=tags,
        mode=mode,
        log_model=False,
    )


def _has_credentials() -> bool:
    """Whether a key for wandb lies on this machine; asks the network nothing."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


def _wandb_login() -> bool:
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except wandb.Error as error:  # wrong credentials, or no network
        print(f"note: wandb cannot log in ({str(error).splitlines()[0]}); it stays offline.", file=sys.stderr)
        return False


def finish_wandb(run: Run, failed: bool) -> None:
    """End the run's wandb record: a process has one at a time, and the next training would write into this one."""
    wandb = sys.modules.get("wandb")  # there if a logger has imported it
    if wandb is not None and wandb.run is not None and wandb.run.id == run.config.id:
        wandb.finish(exit_code=int(failed))


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
