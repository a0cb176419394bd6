"""Keep the global random generators in the checkpoint, so that a resumed run draws the same numbers."""

import random
import sys
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.randomness import mix
from lightning_gen.runs.provenance import threads


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

    A CPU's sums depend on how many threads share them. So a run that goes on with another number of threads says so.

    `threads_vary`: their number changes while the run trains, as with `trainer.threads=auto`.
    """

    def __init__(self, seed: int, threads_vary: bool = False) -> None:
        self.seed, self.threads_vary = seed, threads_vary
        self._loaded: list[dict[str, Any]] = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        mine, everyone = random_state(), [random_state()] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(everyone, mine)
        checkpoint["random_state"] = everyone
        checkpoint["threads"] = self._threads(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint["random_state"]
        before, now = checkpoint.get("threads"), self._threads(trainer)  # absent from those of earlier versions
        if before in (None, now) or trainer.strategy.root_device.type != "cpu" or not trainer.is_global_zero:
            return
        if len(self._loaded) == trainer.world_size:
            with_now = now or "a number that varies"
            print(
                f"note: this run has computed with {threads(before)} and goes on with {with_now}: it will differ in "
                f"the last digits from one that was not interrupted. trainer.threads={before} avoids this.",
                file=sys.stderr,
            )

    def _threads(self, trainer: Trainer) -> int | None:
        """The number of threads that decides the sums of this run; None if there is none."""
        on_cpu = trainer.strategy.root_device.type == "cpu"
        return torch.get_num_threads() if on_cpu and not self.threads_vary else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_rank < len(self._loaded):
            set_random_state(self._loaded[trainer.global_rank])
        elif trainer.global_rank > 0:  # a new run, or one that continues with more devices
            torch.manual_seed(mix(self.seed, trainer.global_rank))
