"""Keep the global random generators in the checkpoint, so that a resumed run draws the same numbers."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.randomness import mix


def random_state() -> dict[str, Any]:
    """The state of every global generator of this process, in tensors and plain containers."""
    version, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 (libraries use the global one)
    python_version, python_keys, python_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(version), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "python": [python_version, list(python_keys), python_gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore a state from `random_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    version, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((version, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    python_version, python_keys, python_gauss = state["python"]
    random.setstate((python_version, tuple(python_keys), python_gauss))


class RandomState(Callback):
    """Saves the generators of all ranks; at the start of training, each rank restores its own.

    In a new run all ranks have built the same weights from `seed`. From then on each rank draws, for example dropout,
    from a generator with another seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._loaded: list[dict[str, Any]] = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        mine, everyone = random_state(), [random_state()] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(everyone, mine)
        checkpoint["random_state"] = everyone

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint["random_state"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_rank < len(self._loaded):
            set_random_state(self._loaded[trainer.global_rank])
        elif trainer.global_rank > 0:  # a new run, or one that continues with more devices
            torch.manual_seed(mix(self.seed, trainer.global_rank))
