"""Ends training when a metric has not improved for several evaluations."""

from typing import Any, Literal

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping as LightningEarlyStopping

from lightning_gen.ranges import Count, NonNegative


class EarlyStopping(LightningEarlyStopping):
    """Ends training after `patience` evaluations in a row without an improvement of `monitor` (Prechelt 1998).

    The count is part of each checkpoint, so a resumed run ends at the same step. A run that has ended in this way is
    not trained further when it is resumed, unless `patience` is larger by then.

    Args:
        monitor: a metric of the evaluations; None in a config: that of best.ckpt, which `build_callbacks` fills in.
        mode: whether the best value of the metric is its "min" or its "max"; None likewise.
        patience: the number of evaluations.
        min_delta: the smallest change that is an improvement.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        patience: Count = 5,
        min_delta: NonNegative = 0.0,
    ) -> None:
        assert monitor is not None
        assert mode is not None
        super().__init__(monitor, mode=mode, patience=patience, min_delta=min_delta, check_on_train_epoch_end=False)
        self.stopped_at: int | None = None  # the step after which it ended training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
        else:
            self.stopped_at = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        asked = trainer.should_stop
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop and not asked:
            self.stopped_at = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        # Lightning's epochs have no meaning here, and a resumed run counts them differently
        return super().state_dict() | {"stopped_epoch": 0, "stopped_at": self.stopped_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})  # as the config says now
        self.stopped_at = state_dict["stopped_at"]
