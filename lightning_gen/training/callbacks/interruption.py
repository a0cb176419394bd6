"""Ends training when the process is asked to stop."""

from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.interruption import StopRequest


class Interruption(Callback):
    """Ends training after the current step and its checkpoint, once `stop` is requested.

    It is the first callback, so that its signal handlers are installed before the first evaluation. Lightning's
    handlers would end training without a checkpoint.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop."""
        return self.stop.asked

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stop.handle_signals()
        trainer._signal_connector.received_sigterm = False

    def agreed(self, trainer: Trainer) -> bool:
        """Whether to stop after this step. Several processes decide together, every `log_every_n_steps` steps."""
        if trainer.world_size == 1:
            return self.asked
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        self.stop.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        return self.asked
