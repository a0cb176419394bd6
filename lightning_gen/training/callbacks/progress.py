"""A progress bar: step, images per second, time left, and the most important losses."""

import re
import sys
import time
from collections.abc import Callable, Mapping

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar

from lightning_gen.models.base import GenerativeModel
from lightning_gen.progress import Bar, duration, terminal
from lightning_gen.training.callbacks.steps import StepCallback

REFRESH_SECONDS = 0.2
EVERY = 60.0  # seconds between two lines


class StepProgress(StepCallback, ProgressBar):
    """A progress bar that counts steps. Without a terminal, prints a line at each tenth and each minute.

    `scalars`: the latest value of every metric, of which the bar shows the most important ones.
    """

    def __init__(self, scalars: Callable[[], Mapping[str, float]]) -> None:
        super().__init__()
        self.scalars = scalars
        self._bar: Bar | None = None
        self._drawn = 0.0  # when something was last shown, in seconds
        self._first_step = 0  # when training began
        self._start = (0.0, 0)  # seconds, images
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    @property
    def images_per_second(self) -> float:
        seconds, images = time.monotonic() - self._start[0], self._images - self._start[1]
        return images / seconds if seconds > 0 else 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GenerativeModel)
        self._images = pl_module.images_seen
        self._start = (time.monotonic(), self._images)
        self.every_n_steps = max(trainer.max_steps // 10, 1)
        self._drawn, self._first_step = self._start[0], trainer.global_step
        if self._enabled and trainer.is_global_zero and terminal() is not None:
            self._bar = Bar(trainer.max_steps, trainer.global_step, pl_module.stage, "steps")

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        self._images = model.images_seen
        if not (self._enabled and trainer.is_global_zero):
            return
        step, total = trainer.global_step, trainer.max_steps
        if self._bar is not None:
            if step == total or time.monotonic() - self._drawn > REFRESH_SECONDS:
                self._drawn = time.monotonic()
                self._bar.update(step, model.stage, self._text(trainer))
        elif step == total or step % self.every_n_steps == 0 or time.monotonic() - self._drawn > EVERY:
            self._drawn = time.monotonic()
            where = "" if model.stage == "training" else f"{model.stage}, "
            line = f"{where}step {step}/{total}  {self._text(trainer)}{self._left(step, total)}"
            print(line, file=sys.stderr, flush=True)

    def _left(self, step: int, total: int) -> str:
        done = step - self._first_step
        left = (time.monotonic() - self._start[0]) / done * (total - step) if done > 0 and total > step else 0.0
        return f"  {duration(left)} left" if left >= 1 else ""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GenerativeModel)
        if self._bar is not None:  # the evaluation at the end has other numbers
            self._bar.update(trainer.global_step, pl_module.stage, self._text(trainer))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _text(self, trainer: Trainer) -> str:
        logged, model = self.scalars(), trainer.lightning_module
        assert isinstance(model, GenerativeModel)
        fid = next((name for name in logged if re.fullmatch("eval/fid(_(?!floor|noise)[a-z0-9]+)?", name)), "")
        names = {"fid": fid, **model.shown_now()}
        values = [f"{short} {logged[name]:.4g}" for short, name in names.items() if name in logged]
        if self._bar is None or self._bar.wide:
            values.append(f"{self.images_per_second:,.0f} {model.unit}/s")
        return "  ".join(values)
