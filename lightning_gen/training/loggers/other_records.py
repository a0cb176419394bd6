"""Records of a run in MLflow (https://mlflow.org) and in Trackio (https://huggingface.co/docs/trackio)."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_gen.training.loggers.record import Record


class MLflowRecord(Record):
    """The logger of `logger=mlflow`, through Lightning's: a database and pictures in `mlflow/` of the run directory.

    `start` has the project, the run's ID and name, and the path of the folder, `dir`. A run is found again by its ID.
    """

    def __init__(self, start: dict[str, Any], timeout: float) -> None:
        super().__init__("mlflow", start, timeout)

    def _begin(self, config: dict[str, Any]) -> None:
        from mlflow.tracking import MlflowClient
        from pytorch_lightning.loggers import MLFlowLogger

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it creates
        folder, project = self.start["dir"], self.start["project"]
        Path(folder).mkdir(exist_ok=True)
        uri = f"sqlite:///{folder}/mlflow.db"
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else client.create_experiment(project, f"{folder}/artifacts")
        earlier = client.search_runs([experiment], f"tags.lightning_gen_id = '{self.version}'")
        self.run = MLFlowLogger(
            experiment_name=project,
            run_name=self.start["name"],
            tracking_uri=uri,
            tags={"lightning_gen_id": self.version},
            run_id=earlier[0].info.run_id if earlier else None,
        )
        if not earlier:  # MLflow lets no parameter change
            self.run.log_hyperparams(config)

    def _log(self, values: dict[str, Any], step: int) -> None:
        self.run.log_metrics(values, step)

    def _log_picture(self, name: str, picture: Image.Image, step: int, caption: str) -> None:
        self.run.experiment.log_image(self.run.run_id, picture, key=name, step=step)

    def _end(self, summary: dict[str, Any], failed: bool) -> None:
        self.run.finalize("failed" if failed else "success")


class TrackioRecord(Record):
    """The logger of `logger=trackio`: a database on this machine, that of all runs, where TRACKIO_DIR says.

    `start` has the project, the run's ID and name, and its group.
    """

    def __init__(self, start: dict[str, Any], timeout: float) -> None:
        super().__init__("trackio", start, timeout)

    def _begin(self, config: dict[str, Any]) -> None:
        import trackio

        self.run = trackio.init(
            project=self.start["project"],
            name=self.start["name"],
            group=self.start["group"],
            config=dict(leaves(config)),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def _log(self, values: dict[str, Any], step: int) -> None:
        self.run.log(values, step=step)

    def _log_picture(self, name: str, picture: Image.Image, step: int, caption: str) -> None:
        import trackio

        self.run.log({name: trackio.Image(picture, caption=caption)}, step=step)

    def _end(self, summary: dict[str, Any], failed: bool) -> None:
        self.run.finish()


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dicts by dotted keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
