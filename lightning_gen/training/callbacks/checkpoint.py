"""last.ckpt every N steps and at the end or a signal, best.ckpt by a metric: always between two steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from lightning_gen.models.base import GenerativeModel
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.callbacks.inference import fit_density
from lightning_gen.training.callbacks.interruption import Interruption
from lightning_gen.training.callbacks.steps import StepCallback


class SaveCheckpoints(StepCallback, Checkpoint):
    """Writes `folder`/last.ckpt and `folder`/best.ckpt.

    Saving only between two steps is what makes a resumed run bit-identical; Lightning's own ModelCheckpoint counts
    otherwise under manual optimization.

    Args:
        folder: where the files go.
        every_n_steps: cadence of last.ckpt, which is also written at the end and at an interruption.
        monitor: the metric that best.ckpt is best by.
        mode: its better end, "min" or "max".
        interruption: whether somebody asked to stop, which ends training here.
        check: raises if the model is not worth saving, so that last.ckpt stays a good one.
        ema: the average of the weights, if there is one.
    """

    def __init__(
        self,
        folder: Path,
        every_n_steps: int,
        monitor: str,
        mode: str,
        interruption: Interruption,
        check: Callable[[Trainer, GenerativeModel], None],
        ema: EMA | None = None,
    ) -> None:
        self.folder, self.every_n_steps, self.monitor, self.mode = folder, every_n_steps, monitor, mode
        self.interruption, self.check, self.ema = interruption, check, ema
        self.best: float | None = None
        self.best_step: int | None = None
        self._saved_step: int | None = None

    # -- saving ----------------------------------------------------------------------------------------------

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        if self.interruption.agreed(trainer):
            trainer.should_stop = True
        if trainer.should_stop or trainer.global_step % self.every_n_steps == 0:
            self.check(trainer, model)
            self.save_last(trainer, model)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save_last(trainer, pl_module)

    def save_last(self, trainer: Trainer, pl_module: LightningModule, again: bool = False) -> None:
        """Write last.ckpt; if it is of this step already, only if asked to do so `again`."""
        if again or self._saved_step != trainer.global_step:
            self._save(trainer, pl_module, "last")
            self._saved_step = trainer.global_step

    def consider_best(self, trainer: Trainer, pl_module: LightningModule, metrics: dict[str, float]) -> None:
        """To be called with the metrics of an evaluation: write best.ckpt if `monitor` has improved."""
        value = metrics.get(self.monitor)
        if value is None or value != value:
            return
        if self.best is None or (value < self.best if self.mode == "min" else value > self.best):
            self.best, self.best_step = value, trainer.global_step
            self._save(trainer, pl_module, "best")

    def _save(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        assert isinstance(pl_module, GenerativeModel)
        fit_density(trainer, pl_module, self.ema)
        trainer.save_checkpoint(self.folder / f"{name}.ckpt")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.interruption.asked and trainer.world_size == 1:  # in the first evaluation
            trainer.should_stop = True

    # -- what outlives a resume --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
