"""The choices of `logger`: functions of a run that return a logger of Lightning."""

import os
from importlib.util import find_spec

from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger

from lightning_gen.errors import UserError
from lightning_gen.ranges import Positive
from lightning_gen.runs.run import Run
from lightning_gen.training.loggers.wandb_record import NOTHING, Extras


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
    from lightning_gen.training.loggers.wandb_record import WandbRecord, has_credentials, logged_in

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
    from lightning_gen.training.loggers.other_records import MLflowRecord

    _check_installed("mlflow", "sqlalchemy")
    return MLflowRecord(_start(run, project) | {"dir": str(run.path / "mlflow")}, timeout)


def trackio_logger(run: Run, project: str, timeout: Positive = 60.0) -> Logger:
    """A Trackio logger on this machine; a resumed run continues its record.

    Args:
        run: the run.
        project: the project in Trackio.
        timeout: the most seconds that the end of training waits for Trackio.

    Raises:
        UserError: the package is not installed.
    """
    from lightning_gen.training.loggers.other_records import TrackioRecord

    _check_installed("trackio")
    return TrackioRecord(_start(run, project), timeout)


def _start(run: Run, project: str) -> dict[str, str]:
    """What a record on this machine begins with: the run's ID, name and group, and the project."""
    kind = f"{run.config.dataset.name}-{run.config.model.name}"
    return {
        "id": run.config.id,
        "name": f"{kind}-{run.config.id}",
        "group": sweep_of(run) or kind,
        "project": project,
    }


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
