"""Checkpoints, always saved between two steps: last.ckpt at intervals and at the end, best.ckpt by a metric.

last.ckpt            the newest
previous.ckpt        the one before
step_00001000.ckpt   earlier ones, by their step, if `checkpoint.keep` is more than 1
best.ckpt            the one with the best value of `checkpoint.monitor`
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.run import check_exists
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.callbacks.inference import fit_density
from lightning_gen.training.callbacks.interruption import Interruption
from lightning_gen.training.callbacks.steps import StepCallback
from lightning_gen.training.divergence import Diverged

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
NEXT = "next.ckpt"  # becomes last.ckpt when it is complete


def read_without_tensors(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; its tensors stay on disk until they are used."""
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


def make_room(folder: Path, keep: int) -> None:
    """Make last.ckpt also previous.ckpt, and that one step_STEP.ckpt, so that `keep` checkpoints stay besides.

    last.ckpt stays where it is, so that it is there at every moment.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    newest = ""
    if keep > 1 and previous.exists():
        with suppress(Exception):  # a damaged file raises many kinds of errors; it is overwritten
            newest = f"step_{read_without_tensors(previous)['global_step']:08d}.ckpt"
            os.replace(previous, folder / newest)
    if keep:
        second_name(last, previous)
    else:
        previous.unlink(missing_ok=True)
    by_step = sorted(folder.glob("step_*.ckpt"), reverse=True)
    lost = [path for path in by_step if newest and path.name > newest]  # the run went back to an earlier checkpoint
    kept = [path for path in by_step if path not in lost][: max(keep - 1, 0)]
    for path in by_step:
        if path not in kept:
            path.unlink()


def second_name(path: Path, other: Path) -> None:
    """Give a file a second name, in place of a file that had it; moves it where a file can have only one name."""
    link = other.with_name(f"{other.name}.link")
    link.unlink(missing_ok=True)  # of a process that was killed
    try:
        os.link(path, link)
    except OSError:
        os.replace(path, other)
    else:
        os.replace(link, other)
        link.unlink(missing_ok=True)  # where `other` was a name of this file already, nothing is replaced


class SaveCheckpoints(StepCallback, Checkpoint):
    """Writes last.ckpt, keeping those before, and best.ckpt.

    Checkpoints are saved only between two steps, which makes resumed runs bit-identical. Lightning's ModelCheckpoint
    counts steps differently in manual optimization.

    Args:
        folder: the folder of the checkpoints.
        every_n_steps: the interval of last.ckpt, which is also written at the end and at an interruption.
        every_n_seconds: also write last.ckpt when this many seconds have passed; None: by steps only.
        keep: the number of checkpoints before last.ckpt that stay.
        monitor: the metric that decides best.ckpt.
        mode: whether the best value of the metric is its "min" or its "max".
        interruption: says whether the run was asked to stop; training then ends after the checkpoint.
        check: raises an error if the model has diverged, so that last.ckpt stays a good one.
        ema: the average of the weights, if there is one.
    """

    def __init__(
        self,
        folder: Path,
        every_n_steps: int,
        every_n_seconds: float | None,
        keep: int,
        monitor: str,
        mode: str,
        interruption: Interruption,
        check: Callable[[Trainer, GenerativeModel], None],
        ema: EMA | None = None,
    ) -> None:
        self.folder, self.every_n_steps, self.every_n_seconds = folder, every_n_steps, every_n_seconds
        self.keep, self.monitor, self.mode = keep, monitor, mode
        self.interruption, self.check, self.ema = interruption, check, ema
        self.best: float | None = None
        self.best_step: int | None = None
        self._saved_step: int | None = None  # the step of a last.ckpt that is known to be intact
        self._saved_at = time.monotonic()
        self._stop_later = False  # after the current step

    # -- saving ----------------------------------------------------------------------------------------------

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, GenerativeModel)
        if trainer.should_stop and not pl_module.step_done:  # a Timer's request while batches are accumulated
            trainer.should_stop, self._stop_later = False, True
        super().on_train_batch_end(trainer, pl_module)

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        if self.interruption.agreed(trainer) or self._stop_later:
            trainer.should_stop = True
        if trainer.should_stop or trainer.global_step % self.every_n_steps == 0 or self._time_has_come(trainer):
            self.save_last(trainer, model)

    def _time_has_come(self, trainer: Trainer) -> bool:
        """Whether `every_n_seconds` have passed; several processes agree on it every `log_every_n_steps` steps."""
        if self.every_n_seconds is None:
            return False
        passed = time.monotonic() - self._saved_at >= self.every_n_seconds
        if trainer.world_size == 1:
            return passed
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        return trainer.strategy.reduce_boolean_decision(passed, all=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save_last(trainer, pl_module)

    def save_last(self, trainer: Trainer, pl_module: LightningModule, again: bool = False) -> None:
        """Write last.ckpt, unless it is from this step already; `again`: write it in any case."""
        if again or self._saved_step != trainer.global_step:
            self._save(trainer, pl_module, NEXT)
            if trainer.is_global_zero:
                if self._saved_step not in (None, trainer.global_step) and (self.folder / LAST).exists():
                    make_room(self.folder, self.keep)
                os.replace(self.folder / NEXT, self.folder / LAST)
            self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    @property
    def last(self) -> Path | None:
        """The path of last.ckpt, if there is one."""
        path = self.folder / LAST
        return path if path.exists() else None

    def consider_best(self, trainer: Trainer, pl_module: LightningModule, metrics: dict[str, float]) -> None:
        """Write best.ckpt if `monitor` has improved; called with the metrics of each evaluation."""
        value = metrics.get(self.monitor)
        if value is None or value != value:
            return
        if self.best is None or (value < self.best if self.mode == "min" else value > self.best):
            if trainer.global_step == 0:
                self.save_last(trainer, pl_module)
            self.best, self.best_step = value, trainer.global_step
            self._save(trainer, pl_module, BEST)

    def _save(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        assert isinstance(pl_module, GenerativeModel)
        if trainer.is_global_zero:
            check_exists(self.folder.parent)
        self.check(trainer, pl_module)
        self._check_state(trainer)
        fit_density(trainer, pl_module, self.ema)
        trainer.save_checkpoint(self.folder / name)

    def _check_state(self, trainer: Trainer) -> None:
        """Raise Diverged if the state of an optimizer or the average of the weights is not finite."""
        states = [
            value
            for optimizer in trainer.optimizers
            for state in optimizer.state.values()
            for value in state.values()
        ]
        averages = list(self.ema.average.values()) if self.ema else []
        for name, tensors in (("the state of an optimizer", states), ("the average of the weights", averages)):
            if not all(bool(tensor.isfinite().all()) for tensor in tensors if isinstance(tensor, Tensor)):
                raise Diverged(name, trainer.global_step, last=self.last)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder = trainer.strategy.broadcast(self.folder)  # torchrun and srun start processes without the folder
        if trainer.ckpt_path is not None:
            self.best, self.best_step = trainer.strategy.broadcast(self._best_on_disk())
            if Path(trainer.ckpt_path).name == LAST:
                self._saved_step = trainer.global_step
        if trainer.global_step == 0:  # so that later a missing last.ckpt means that it was lost
            self.save_last(trainer, pl_module)
        if self.interruption.asked and trainer.world_size == 1:  # during the first evaluation
            trainer.should_stop = True

    # -- state in the checkpoint -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "monitor": self.monitor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before = state_dict.get("monitor", self.monitor)
        if before == self.monitor:
            self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        else:
            _say(f"hint: best.ckpt was chosen by {before}; from now on it is chosen by {self.monitor}, and replaced.")

    def _best_on_disk(self) -> tuple[float | None, int | None]:
        """The best value and its step; those of best.ckpt if it is newer than the resumed checkpoint."""
        with suppress(Exception):  # a missing or damaged best.ckpt is written again
            state = read_without_tensors(self.folder / BEST)["callbacks"]["SaveCheckpoints"]
            if state.get("monitor") == self.monitor and state["best_step"] > (self.best_step or -1):
                return state["best"], state["best_step"]
        return self.best, self.best_step


@rank_zero_only
def _say(line: str) -> None:
    print(line, file=sys.stderr)
