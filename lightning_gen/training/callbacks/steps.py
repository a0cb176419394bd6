"""Act between two steps, for any number of batches in a step."""

from abc import ABC, abstractmethod
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.models.base import GenerativeModel


class StepCallback(Callback, ABC):
    """Acts between two training steps.

    `on_step_end` is called at least after each step that is a multiple of `every_n_steps`; if this is 0, after
    every step. Lightning's own hook is called after every batch, also while accumulating, or after several steps
    (`trainer.steps_per_call`).
    """

    every_n_steps = 1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, GenerativeModel)
        called = not self.every_n_steps and getattr(
            trainer.strategy, "takes_streams", False
        )  # after each step already
        if pl_module.step_done and not called:
            self.on_step_end(trainer, pl_module)

    @abstractmethod
    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        """Called between two steps; `trainer.global_step` counts the last one already."""
