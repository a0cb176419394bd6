"""Acting between two steps, whatever the number of batches in one."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.models.base import GenerativeModel


class StepCallback(Callback):
    """Acts once after each training step, where Lightning's hook acts after every batch that is accumulated too."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, GenerativeModel)
        if pl_module.step_done:
            self.on_step_end(trainer, pl_module)

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        """After the step that made `trainer.global_step` what it is."""
        raise NotImplementedError
