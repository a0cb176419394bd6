"""Log the losses of the model every `log_every_n_steps` steps, the only time that training waits for the device."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.run import check_exists
from lightning_gen.training.callbacks.steps import StepCallback
from lightning_gen.training.divergence import Diverged
from lightning_gen.training.loggers.metrics_csv import MetricsCSV
from lightning_gen.training.loggers.send import record


class TrainingLog(StepCallback):
    """Averages `model.scalars` over the ranks and records them; stops training at a loss that is not finite.

    Raises:
        Diverged: a scalar is NaN or infinite. The last checkpoint is from before that step.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.latest: dict[str, float] = {}
        self._seconds_before = 0.0  # seconds before the run was resumed
        self._start: float | None = None

    def seconds(self) -> float:
        """Wall-clock seconds of training and evaluation, over all parts of a resumed run."""
        return self._seconds_before + self.seconds_here()

    def seconds_here(self) -> float:
        """Those of this process alone."""
        return 0.0 if self._start is None else time.monotonic() - self._start

    def state_dict(self) -> dict[str, Any]:
        return {"latest": self.latest, "seconds": self.seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.latest, self._seconds_before = state_dict["latest"], state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()
        self.every_n_steps = trainer.log_every_n_steps  # type: ignore[attr-defined]
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.drop_after(trainer.global_step)
                logger.clock = self.seconds

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            scalars = model.scalars
            names = sorted(scalars)
            self.latest = {}
            if names:
                values = torch.stack([scalars[name].float() for name in names])
                values = trainer.strategy.reduce(values, reduce_op="mean")
                self.latest = dict(zip(names, values.tolist(), strict=True))
            self.check_finite(trainer, model)
            if trainer.is_global_zero:
                check_exists(self.run_dir)
            record(trainer, self.latest, model.images_seen)

    def check_finite(self, trainer: Trainer, model: GenerativeModel) -> None:
        """Check that losses, scalars and weights are finite; all processes get the same result.

        Also called before a checkpoint is written, so that the last checkpoint is always good.

        Raises:
            Diverged: the loss of a phase, a scalar or a weight is not finite.
        """
        diverged = model.diverged()
        first = list(diverged.values())
        weights = torch.stack([p.detach().float().sum() for p in model.parameters()]).sum()
        seen = torch.stack([*(at.isfinite().float() for at in first), (~weights.isfinite()).float()])
        *lost, spoilt = trainer.strategy.reduce(seen, reduce_op="mean").tolist()
        if any(lost):  # a loss that is not finite affects the phases after it
            found = [(float(at), phase) for at, phase, share in zip(first, diverged, lost, strict=True) if share]
            step, phase = min(found, key=lambda at_phase: at_phase[0])
            name = f"the {phase} loss".replace("  ", " ")
            self._stop(name, int(step) if math.isfinite(step) else trainer.global_step)
        for name, value in self.latest.items():
            if not math.isfinite(value):
                self._stop(name, trainer.global_step, f"is {value}")
        if spoilt:
            self._stop("a weight", trainer.global_step)

    def _stop(self, name: str, step: int, found: str = "is not finite") -> None:
        last = self.run_dir / "checkpoints" / "last.ckpt"
        raise Diverged(name, step, found, last if last.exists() else None)
