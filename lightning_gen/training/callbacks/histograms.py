"""Histograms of weights and gradients for the loggers that show them, on request."""

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from lightning_gen.models.base import GenerativeModel
from lightning_gen.training.callbacks.steps import StepCallback

BINS = 64


class Histograms(StepCallback):
    """Sends a histogram of each weight and of its gradient to the loggers that have `log_histograms`.

    The gradients are those of the last backward pass of the step. Waits for the device, so it costs time.

    Args:
        every_n_steps: the interval.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        if trainer.global_step % self.every_n_steps or not trainer.is_global_zero:
            return
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, parameter in model.named_parameters():
            found[f"weights/{name}"] = histogram(parameter)
            if parameter.grad is not None:
                found[f"gradients/{name}"] = histogram(parameter.grad)
        for logger in trainer.loggers:
            if hasattr(logger, "log_histograms"):
                logger.log_histograms(found, trainer.global_step)


@torch.no_grad()
def histogram(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Counts [64] and edges of the bins [65] of the finite values."""
    array = values.detach().float().cpu().double().numpy()  # float32 has no 64 steps between 1 and the next numbers
    return np.histogram(array[np.isfinite(array)], bins=BINS)
