"""A run's record in wandb (https://docs.wandb.ai), written by a thread of its own.

The `_step` of a row is the training step. So training, evaluation and pictures of a step share a row, each row has
`progress/images_seen`, and a resumed run continues the steps. Names are those of metrics.csv but for two sections:
`progress`, and `diagnostics` for scalars that are neither losses nor evaluations.
"""

import netrc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_gen.config.tree import PACKAGE
from lightning_gen.errors import one_line
from lightning_gen.ranges import Count
from lightning_gen.runs.comparison import HIDDEN
from lightning_gen.runs.directions import direction
from lightning_gen.training.loggers.record import Record

DATA_DIR = "WANDB_DATA_DIR"  # where wandb keeps the pictures of tables until they are uploaded


class Extras:
    """What is recorded, and sent if the run is online, only on request.

    Args:
        histograms: steps between histograms of weights and gradients; None: there are none.
        code: the source of lightning_gen, as an artifact.
        environment: host name, operating system, hardware, installed packages, git commit and uncommitted changes.
        artifacts: config.yaml and best.ckpt, at the end.
    """

    def __init__(
        self,
        histograms: Count | None = None,
        code: bool = False,
        environment: bool = False,
        artifacts: bool = False,
    ) -> None:  # not a dataclass, because Hydra would make a dict of it
        self.histograms, self.code, self.environment, self.artifacts = histograms, code, environment, artifacts


NOTHING = Extras()


class WandbRecord(Record):
    """The logger of `logger=wandb`. Its run begins with the first call.

    Args:
        start: arguments of `wandb.init`; the mode `auto` is online if wandb can log in, and otherwise offline.
        extras: what is recorded only on request.
        timeout: seconds that the end of training waits for wandb.
    """

    def __init__(self, start: dict[str, Any], extras: Extras, timeout: float) -> None:
        super().__init__("wandb", start, timeout)
        self.extras, self.run_dir = extras, Path(start["dir"])
        self._named: set[str] = set()  # metrics that wandb knows

    @rank_zero_only
    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """Add a table to the row of a step, as `pictures/NAME`; its cells are numbers and pictures."""
        self.background.call(self._log_table, name, columns, rows, step)

    @rank_zero_only
    def log_histograms(self, histograms: Mapping[str, tuple[Any, Any]], step: int) -> None:
        """Add histograms to the row of a step; each is the counts and the edges of its bins."""
        self.background.call(self._log_histograms, histograms, step)

    # -- in the thread -----------------------------------------------------------------------------------------

    def _begin(self, config: dict[str, Any]) -> None:
        import wandb

        start = self.start | {"resume": "allow", "reinit": "create_new"}  # other runs of this process go on
        if start["mode"] == "auto":
            start["mode"] = "online" if logged_in() else "offline"
        settings = wandb.Settings(**settings_of(self.extras, self.background.timeout))
        self.run = wandb.init(**start, config=config, settings=settings)
        if self.extras.code:
            self.run.log_code(str(PACKAGE), include_fn=lambda path: path.endswith((".py", ".yaml")))

    def _log(self, values: dict[str, Any], step: int) -> None:
        for name in values.keys() - self._named:
            self._define(name)
        self.run.log(values, step=step)

    def _define(self, name: str) -> None:
        """Let a metric stand over the steps, and its best value in the summary, if one is better than another."""
        better = None if name.endswith(HIDDEN) or not name.startswith("eval/") else direction(name)
        self.run.define_metric(name, step_metric="progress/step", summary=better.__name__ if better else None)
        self._named.add(name)

    def _log_picture(self, name: str, picture: Image.Image, step: int, caption: str) -> None:
        import wandb

        self._log({name: wandb.Image(picture, caption=caption)}, step)

    def _log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        import wandb

        cells = [[wandb.Image(cell) if isinstance(cell, Image.Image) else cell for cell in row] for row in rows]
        given = os.environ.get(DATA_DIR)
        os.environ[DATA_DIR] = given or str(self.run_dir / "wandb")  # wandb's own default is in the home directory
        try:
            self.run.log({f"pictures/{name}": wandb.Table(columns=[*columns], data=cells)}, step=step)
        finally:
            if given is None:
                del os.environ[DATA_DIR]

    def _log_histograms(self, histograms: Mapping[str, tuple[Any, Any]], step: int) -> None:
        import wandb

        made = {name: wandb.Histogram(np_histogram=parts) for name, parts in histograms.items()}
        self.run.log(made, step=step)

    def _end(self, summary: dict[str, Any], failed: bool) -> None:
        import wandb

        self.run.summary.update(summary)
        if self.extras.artifacts:
            for kind, file in (("config", "config.yaml"), ("model", "checkpoints/best.ckpt")):
                if (self.run_dir / file).exists():
                    artifact = wandb.Artifact(f"{kind}-{self.version}", type=kind)
                    artifact.add_file(str(self.run_dir / file))
                    self.run.log_artifact(artifact)
        self.run.finish(exit_code=int(failed))


def settings_of(extras: Extras, timeout: float) -> dict[str, Any]:
    """Settings of wandb: it prints nothing, captures no output, and sends nothing of the machine unless asked to.

    Names that begin with `x_` are not part of wandb's promises, so those that a version does not have are left out.
    """
    import wandb

    settings: dict[str, Any] = {"silent": True, "console": "off", "init_timeout": timeout, "finish_timeout": timeout}
    if not extras.environment:
        settings |= {"disable_git": True, "disable_code": True, "save_code": False, "host": "", "program": ""}
        settings |= {"x_disable_meta": True, "x_disable_machine_info": True, "x_save_requirements": False}
    return {name: value for name, value in settings.items() if name in wandb.Settings.model_fields}


def has_credentials() -> bool:
    """Whether a key for wandb lies on this machine; asks the network nothing."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    known = ("wandb", "coreweave", urlsplit(os.environ.get("WANDB_BASE_URL", "")).netloc or "wandb")
    return any(name in host for host in hosts for name in known)


def logged_in() -> bool:
    """Whether wandb accepts the key of this machine."""
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except wandb.Error as error:  # wrong credentials, or no network
        print(f"note: wandb cannot log in ({one_line(error)}); it stays offline.", file=sys.stderr)
        return False
