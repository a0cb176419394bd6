"""A run's record in wandb (https://docs.wandb.ai), written by a thread of its own.

The `_step` of a row is the training step. So training, evaluation and pictures of a step share a row, each row has
`progress/images_seen`, and a resumed run continues the steps. Names are those of metrics.csv but for two sections:
`progress`, and `diagnostics` for scalars that are neither losses nor evaluations.
"""

import netrc
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from PIL import Image
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_gen.config.tree import PACKAGE
from lightning_gen.errors import one_line
from lightning_gen.progress import progress
from lightning_gen.ranges import Count
from lightning_gen.runs.comparison import HIDDEN, direction
from lightning_gen.training.background import Background

# What the names of scalars begin with, after `train/`, that tell how training goes but are no losses.
DIAGNOSTICS = (
    *("d_accuracy", "d_real", "d_fake", "logit_", "js_estimate", "grad_norm", "augment_p", "adaptive_weight"),
    *("perplexity", "codes_used", "stage", "accuracy"),
)


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


def section_of(name: str) -> str:
    """The name in wandb of a scalar of metrics.csv; what stands before the slash is its section there."""
    head, slash, rest = name.partition("/")
    if not slash:  # images_seen, and what Lightning's callbacks log, such as lr-Adam
        return f"progress/{name}" if name == "images_seen" else f"diagnostics/{name}"
    return f"diagnostics/{rest}" if head == "train" and rest.startswith(DIAGNOSTICS) else name


class WandbRecord(Logger):
    """The logger of `logger=wandb`. Its run begins with the first call, in another thread.

    Args:
        start: arguments of `wandb.init`; the mode `auto` is online if wandb can log in, and otherwise offline.
        extras: what is recorded only on request.
        timeout: seconds that the end of training waits for wandb.
    """

    def __init__(self, start: dict[str, Any], extras: Extras, timeout: float) -> None:
        super().__init__()
        self.start, self.extras = start, extras
        self.run_dir = Path(start["dir"])
        hint = " metrics.csv has all numbers; logger.wandb.mode=offline or logger=csv avoids this."
        self.background = Background("wandb", timeout, hint)
        self.run: Any = None
        self._step: int | None = None
        self._waiting: dict[str, float] = {}  # for the next row
        self._named: set[str] = set()  # metrics that wandb knows

    @property
    def name(self) -> str:
        return str(self.start["project"])

    @property
    def version(self) -> str:
        return str(self.start["id"])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Begin the run, with `params` as its config."""
        config = vars(params) if isinstance(params, Namespace) else params
        self.background.call(self._begin, config)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add scalars to the row of a step.

        What comes without `images_seen` is of Lightning's callbacks, which count steps differently: it joins the row
        of the latest step, or the first row.
        """
        values = {section_of(name): value for name, value in metrics.items()}
        if "images_seen" in metrics and step is not None:
            self._step = step
            values, self._waiting = {**self._waiting, **values, "progress/step": step}, {}
        if self._step is None:
            self._waiting |= values
        else:
            self.background.call(self._log, values, self._step)

    @rank_zero_only
    def log_picture(self, name: str, picture: Image.Image, step: int, caption: str) -> None:
        """Add a picture to the row of a step, as `pictures/NAME`."""
        self._step = step
        self.background.call(self._log_picture, name, picture, step, caption)

    @rank_zero_only
    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """Add a table to the row of a step, as `pictures/NAME`; its cells are numbers and pictures."""
        self.background.call(self._log_table, name, columns, rows, step)

    @rank_zero_only
    def log_histograms(self, histograms: Mapping[str, tuple[Any, Any]], step: int) -> None:
        """Add histograms to the row of a step; each is the counts and the edges of its bins."""
        self.background.call(self._log_histograms, histograms, step)

    @rank_zero_only
    def finish(self, summary: dict[str, Any], failed: bool) -> None:
        """End the run, with these values in its summary."""
        if self.background.begun:
            self.background.call(self._end, summary, failed)
            with progress(None, "closing the wandb record"):
                self.background.close()

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

        self._log({f"pictures/{name}": wandb.Image(picture, caption=caption)}, step)

    def _log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        import wandb

        own = str(self.run_dir / "wandb")  # by default wandb keeps the pictures of tables in the home directory
        cells = [[wandb.Image(cell) if isinstance(cell, Image.Image) else cell for cell in row] for row in rows]
        with patch.dict(os.environ, WANDB_DATA_DIR=os.environ.get("WANDB_DATA_DIR", own)):
            self.run.log({f"pictures/{name}": wandb.Table(columns=[*columns], data=cells)}, step=step)

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
