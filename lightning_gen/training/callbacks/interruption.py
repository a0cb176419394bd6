"""Ends training when the process is asked to stop."""

import time

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.interruption import StopRequest

BETWEEN_DECISIONS = 1.0  # seconds


class Interruption(Callback):
    """Ends training after the current step and its checkpoint, once `stop` is requested.

    It is the first callback, so that its signal handlers are installed before the first evaluation. Lightning's
    handlers would end training without a checkpoint.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self._next: int | None = None  # the step after which several processes decide again
        self._decided_at, self._decided_in = time.monotonic(), 0  # the last decision: seconds and step

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop."""
        return self.stop.asked

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.handle_signals()
        self._next, self._decided_at, self._decided_in = None, time.monotonic(), trainer.global_step
        trainer._signal_connector.received_sigterm = False

    def agreed(self, trainer: Trainer) -> bool:
        """Whether to stop after this step. Several processes decide together, about once in a second."""
        if trainer.world_size == 1:
            return self.asked
        if self._next is not None and trainer.global_step < self._next:
            return False
        seconds = (time.monotonic() - self._decided_at) / (trainer.global_step - self._decided_in)
        mine = torch.tensor([float(self.asked), seconds], device=trainer.strategy.root_device)
        asked, seconds = trainer.strategy.reduce(mine, reduce_op="max").tolist()  # the same in all processes
        self._decided_at, self._decided_in = time.monotonic(), trainer.global_step
        self._next = trainer.global_step + max(int(BETWEEN_DECISIONS / max(seconds, 1e-6)), 1)
        self.stop.asked = bool(asked)
        return self.asked
