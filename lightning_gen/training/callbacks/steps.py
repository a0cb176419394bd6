"""Act between two steps, for any number of batches in a step."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.models.base import GenerativeModel


class StepCallback(Callback):
    """Acts once after each training step. Lightning's own hook acts after every batch, also while accumulating."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, GenerativeModel)
        if pl_module.step_done:
            self.on_step_end(trainer, pl_module)

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        """Called after each step; `trainer.global_step` counts this step already."""
        raise NotImplementedError
