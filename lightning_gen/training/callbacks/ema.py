"""An exponential moving average (EMA) of the weights, with its half-life in images (Karras et al. 2022)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.models.averaging import EMA_STATE, averaged_tensors, put_average
from lightning_gen.models.base import GenerativeModel
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.spectral import is_singular_vector
from lightning_gen.objectives.schedules import Schedule, value_at
from lightning_gen.training.callbacks.steps import StepCallback

BUFFERS = ("average", "copy")


class EMA(StepCallback):
    """Averages the weights of a model during training. Evaluation and pictures use the average, training does not.

    The average is kept in float32 or more, and in the checkpoint as the state of this callback.

    Args:
        half_life: images after which the weight of a step in the average has halved: decay is 0.5 ** (images per
            step / half_life), so the average does not depend on the batch size. 0: the weights themselves. May be a
            `Schedule`.
        ramp: the half-life is at most this times the images seen, so that the average forgets the initial weights
            early (StyleGAN2-ADA, Karras et al. 2020: 0.05). None: no limit.
        buffers: what to do with batch norm's running statistics, `average` or `copy`.

    Raises:
        UserError: an unknown value of `buffers`.
    """

    every_n_steps = 0  # every step

    def __init__(self, half_life: float | Schedule, buffers: str = "average", ramp: float | None = 0.05) -> None:
        if buffers not in BUFFERS:
            raise UserError(f"ema.buffers={buffers} does not exist: use {' or '.join(BUFFERS)}.")
        self.half_life, self.ramp, self.copies_buffers = half_life, ramp, buffers == "copy"
        self.average: dict[str, Tensor] = {}
        self._now: dict[str, Tensor] = {}  # the tensors that are averaged
        self._images_seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GenerativeModel)
        now = self._now = averaged_tensors(pl_module)  # training changes these tensors in place
        if self.average:  # from a checkpoint
            self.average = {name: self.average[name].to(tensor.device) for name, tensor in now.items()}
        else:
            self.average = {name: full_precision(tensor).clone() for name, tensor in now.items()}
        self._images_seen = pl_module.images_seen

    @torch.no_grad()
    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        half_life = value_at(self.half_life, self._images_seen)
        if self.ramp is not None:
            half_life = min(half_life, self.ramp * model.images_seen)
        decay = 0.5 ** ((model.images_seen - self._images_seen) / half_life) if half_life else 0.0
        self._images_seen = model.images_seen
        now = self._now
        current = [full_precision(now[name]) for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay)
        if self.copies_buffers:
            parameters = dict(model.named_parameters())
            for name in self.average.keys() - parameters.keys():
                self.average[name].copy_(now[name])

    @property
    def state_key(self) -> str:
        return EMA_STATE

    @contextmanager
    def in_use(self, model: GenerativeModel) -> Iterator[None]:
        """Inside the block the model has the averaged weights; afterwards its own are restored, bit for bit."""
        if not self.average:  # before the first step the average equals the weights
            yield
            return
        states = [module.state_dict() for module in model.averaged_modules().values()]
        vectors = [tensor for state in states for name, tensor in state.items() if is_singular_vector(name)]
        kept = [(tensor, tensor.clone()) for tensor in (*averaged_tensors(model).values(), *vectors)]
        put_average(model, self.average)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, own in kept:
                    tensor.copy_(own)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = state_dict["average"]
