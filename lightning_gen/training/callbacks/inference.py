"""Use a model for evaluation in the middle of training, without any effect on training."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from pytorch_lightning import Trainer

from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import in_precision
from lightning_gen.networks.compilation import uncompiled
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.divergence import Diverged


@contextmanager
def evaluation_mode(model: GenerativeModel, ema: EMA | None = None) -> Iterator[bool]:
    """Evaluation mode, no gradients and averaged weights, if there are any; everything is restored afterwards.

    The mode is restored module by module, since some may be frozen in evaluation mode, and so are the global random
    generators: training continues bit for bit. Yields whether the weights are averaged.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    average = nullcontext() if ema is None else ema.in_use(model)
    eager = uncompiled(model.compiled)
    with torch.random.fork_rng(devices=devices), torch.no_grad(), average, eager:
        try:
            model.eval()
            yield ema is not None
        finally:
            for module, training in modes:
                module.training = training


def fit_density(trainer: Trainer, model: GenerativeModel, ema: EMA | None = None) -> None:
    """Let the model fit the density of codes that it samples from to the current weights, once per step.

    Raises:
        Diverged: the codes have no finite covariance.
    """
    step = trainer.global_step
    if not model.needs_density or model.density_fitted_at == step:
        return
    with evaluation_mode(model, ema):
        data = trainer.datamodule  # type: ignore[attr-defined]
        try:
            # A density of the codes of training images would not be private
            batches = data.train_batches if model.private is None else data.test_batches
            model.fit_density(lambda: in_precision(model, batches(model.device)))
        except torch.linalg.LinAlgError as error:  # weights may be finite, and codes too large
            raise Diverged("the covariance of the codes", step) from error
    model.density_fitted_at = step
