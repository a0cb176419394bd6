"""An exponential moving average of the weights that sample, with its half-life in images (Karras et al. 2022)."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.models.averaging import EMA_STATE, averaged_tensors
from lightning_gen.models.base import GenerativeModel
from lightning_gen.training.callbacks.steps import StepCallback

BUFFERS = ("average", "copy")


class EMA(StepCallback):
    """Follows the model's weights; evaluation and pictures use the average, training does not.

    `half_life`: images after which a weight's share in the average has halved, so that the average does not
    depend on the batch size: decay = 0.5 ** (images per step / half_life). It is at most RAMP of the images seen,
    so that the average forgets the initial weights early. `buffers` (batch norm's statistics): `average` or `copy`.
    The average is kept in the checkpoint under this callback's state.

    Raises:
        UserError: another word for `buffers`.
    """

    RAMP = 0.05  # as in StyleGAN2-ADA (Karras et al. 2020)

    def __init__(self, half_life: float, buffers: str = "average") -> None:
        if buffers not in BUFFERS:
            raise UserError(f"ema.buffers={buffers} is not known: use {' or '.join(BUFFERS)}.")
        self.half_life, self.copies_buffers = half_life, buffers == "copy"
        self.average: dict[str, Tensor] = {}
        self._images_seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GenerativeModel)
        now = averaged_tensors(pl_module)
        if self.average:  # from a checkpoint
            self.average = {name: self.average[name].to(tensor.device) for name, tensor in now.items()}
        else:
            self.average = {name: tensor.clone() for name, tensor in now.items()}
        self._images_seen = pl_module.images_seen

    @torch.no_grad()
    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        half_life = min(self.half_life, self.RAMP * model.images_seen)
        decay = 0.5 ** ((model.images_seen - self._images_seen) / half_life)
        self._images_seen = model.images_seen
        now = averaged_tensors(model)
        torch._foreach_lerp_(list(self.average.values()), [now[name] for name in self.average], 1 - decay)
        if self.copies_buffers:
            parameters = dict(model.named_parameters())
            for name in self.average.keys() - parameters.keys():
                self.average[name].copy_(now[name])

    @property
    def state_key(self) -> str:
        return EMA_STATE

    @torch.no_grad()
    def swap(self, model: GenerativeModel) -> None:
        """Exchange the model's weights with the average; a second call puts them back."""
        now = averaged_tensors(model)
        for name, average in self.average.items():
            kept = now[name].clone()
            now[name].copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = state_dict["average"]
