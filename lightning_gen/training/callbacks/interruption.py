"""Being asked to stop: by Ctrl-C, SIGTERM or a job scheduler."""

import signal
import threading
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_info


class Interruption(Callback):
    """Takes the signals that ask to stop; training ends after the step at hand, when its checkpoint is written.

    It comes before every other callback, so that a signal during the first evaluation is not lost. When training
    ends, Lightning puts back the handlers that the process had before.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def agreed(self, trainer: Trainer) -> bool:
        """Whether to stop after this step; several processes agree on it every `log_every_n_steps` steps."""
        if trainer.world_size == 1:
            return self.asked
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        self.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        return self.asked

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.asked and number == signal.SIGINT:  # asked twice: at once
            raise KeyboardInterrupt
        self.asked = True
        rank_zero_info("Stopping after this step; the checkpoint is being written.")
