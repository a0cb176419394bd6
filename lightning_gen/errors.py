"""Errors of the user, exit codes, and silence from libraries."""

import difflib
import logging
import os
import warnings
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can correct. The message, one or two lines, names the override to change."""


class NotMeasured(UserError):
    """A key names a metric that is not among those of the evaluation before the first step."""


class NotFinite(UserError):
    """What a trained model computes is not finite, or huge. `found`: what that is, such as "the code of an image"."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"{found} is not finite: training has diverged. Lower the learning rate, or clip the gradients "
            f"(trainer.gradient_clip_val=1)."
        )


def one_line(error: BaseException) -> str:
    """The text of an error in one line, cut off if it is long; its kind if it has no text."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def quiet_libraries() -> None:
    """Silence messages of libraries that call for no action; other warnings stay."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("WANDB_SILENT", "true")
    for message in (
        ".*does not have many workers.*",
        ".*`IterableDataset` has `__len__`.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*find_unused_parameters=True was specified.*",
        ".*defined a `validation_step`.*",
        r".*torch\.distributed\.nn\.functional\.\w+ is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)


WAITED = 75  # the exit code of a process that waited in vain for another of its run
INTERRUPTED = 130  # the exit code of a run that was asked to stop, as shells have it
