"""A run's record in a service: what all of them have in common."""

from abc import abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_gen.progress import progress
from lightning_gen.training.loggers.background import Background

# What the names of scalars begin with, after `train/`, that tell how training goes but are no losses.
DIAGNOSTICS = (
    *("d_accuracy", "d_real", "d_fake", "logit_", "js_estimate", "grad_norm", "augment_p", "adaptive_weight"),
    *("perplexity", "codes_used", "stage", "accuracy"),
)


def section_of(name: str) -> str:
    """The name in a service of a scalar of metrics.csv; what stands before the slash is its section there."""
    head, slash, rest = name.partition("/")
    if not slash:  # images_seen, and what Lightning's callbacks log, such as lr-Adam
        return f"progress/{name}" if name == "images_seen" else f"diagnostics/{name}"
    return f"diagnostics/{rest}" if head == "train" and rest.startswith(DIAGNOSTICS) else name


class Record(Logger):
    """A logger that talks to its service in a thread of its own: training neither waits for it nor fails with it.

    Subclasses implement the methods that are called in the thread: `_begin`, `_log`, `_log_picture` and `_end`.

    Args:
        service: its name, for a warning.
        start: what the run begins with, at least `project` and `id`.
        timeout: seconds that the end of training waits for the service.
    """

    def __init__(self, service: str, start: dict[str, Any], timeout: float) -> None:
        super().__init__()
        self.start = start
        self.background = Background(service, timeout, " metrics.csv has all numbers; logger=csv avoids this.")
        self.run: Any = None
        self._step: int | None = None
        self._waiting: dict[str, float] = {}  # for the next row

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
        self.background.call(self._log_picture, f"pictures/{name}", picture, step, caption)

    @rank_zero_only
    def finish(self, summary: dict[str, Any], failed: bool) -> None:
        """End the run, with these values in its summary."""
        if self.background.begun:
            self.background.call(self._end, summary, failed)
            with progress(None, f"closing the {self.background.name} record"):
                self.background.close()

    # -- in the thread -----------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, config: dict[str, Any]) -> None:
        """Begin the run, or continue it."""

    @abstractmethod
    def _log(self, values: dict[str, Any], step: int) -> None:
        """Add scalars to a step."""

    @abstractmethod
    def _log_picture(self, name: str, picture: Image.Image, step: int, caption: str) -> None:
        """Add a picture to a step."""

    @abstractmethod
    def _end(self, summary: dict[str, Any], failed: bool) -> None:
        """End the run."""
