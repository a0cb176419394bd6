"""Use a model for evaluation in the middle of training, and leave no trace of it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from pytorch_lightning import Trainer

from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import in_precision
from lightning_gen.training.callbacks.ema import EMA


@contextmanager
def evaluation_mode(model: GenerativeModel, trainer: Trainer | None = None) -> Iterator[bool]:
    """Evaluation mode, no gradients, averaged weights where there are any; all of it put back afterwards.

    Modes are put back module by module (some may be frozen in eval mode), and the global random generators come
    out as they went in: training goes on bit-identically. Yields whether the weights are averaged ones.
    """
    ema = next((c for c in getattr(trainer, "callbacks", []) if isinstance(c, EMA)), None)
    modes = [(module, module.training) for module in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    average = nullcontext() if ema is None else ema.in_use(model)
    with torch.random.fork_rng(devices=devices), torch.no_grad(), average:
        try:
            model.eval()
            yield ema is not None
        finally:
            for module, training in modes:
                module.training = training


def fit_density(trainer: Trainer, model: GenerativeModel) -> None:
    """Fit what sampling needs to the weights of this step (an autoencoder's density of codes), once a step."""
    step = trainer.global_step
    if not model.needs_density or model.density_fitted_at == step:
        return
    with evaluation_mode(model, trainer):
        data = trainer.datamodule  # type: ignore[attr-defined]
        model.fit_density(lambda: in_precision(model, data.train_batches(model.device)))
    model.density_fitted_at = step
