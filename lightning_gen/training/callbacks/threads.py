"""How many threads PyTorch computes with on the CPU."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Literal

import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_gen.models.base import GenerativeModel
from lightning_gen.training.callbacks.steps import StepCallback

WINDOW = 12  # steps that are timed for each number of threads; the first two of them do not count
AGAIN = 60.0  # seconds until the next comparison
CROWDED = 1.5  # processes ready to run for each core; this run itself is about one

_before: list[int] = []  # the number that the process had before its first run


def set_threads(asked: int | Literal["auto"] | None) -> None:
    """Set the number of threads of a run; `auto` and None: that of the process, whatever an earlier run in it had."""
    if not _before:
        _before.append(torch.get_num_threads())
    torch.set_num_threads(asked if isinstance(asked, int) else _before[0])


class Threads(StepCallback):
    """With `auto`, times some steps with one thread and some with all, and goes on with the faster.

    On a machine that other programs use too, several threads wait for each other at every operation and can be many
    times slower than one. So the comparison is repeated every minute.

    Args:
        clock: seconds; for tests.
    """

    every_n_steps = 0  # every step

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.candidates = [torch.get_num_threads(), 1]
        self._times: list[list[float]] = []
        self._before = self._decided = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        now = self.clock()
        if self._times:
            self._times[-1].append(now - self._before)
            if len(self._times[-1]) == WINDOW:
                self._next()
        elif now - self._decided > AGAIN:
            self._begin()
        self._before = self.clock()

    def _begin(self) -> None:
        self._times = [[]]
        torch.set_num_threads(self.candidates[0])
        self._before = self.clock()

    def _next(self) -> None:
        """Go on to the next number of threads, or decide."""
        if len(self._times) < len(self.candidates):
            torch.set_num_threads(self.candidates[len(self._times)])
            self._times.append([])
            return
        medians = [statistics.median(times[2:]) for times in self._times]
        torch.set_num_threads(self.candidates[medians.index(min(medians))])
        self._times, self._decided = [], self.clock()


def hint_of_crowd() -> None:
    """Say so if other programs use the cores while PyTorch computes with several threads on the CPU."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if torch.get_num_threads() > 1 and load > CROWDED * cores:
        print(
            f"hint: other programs use this machine too (load {load:.1f} on {cores} cores). With trainer.threads=1, "
            "training may be several times as fast.",
            file=sys.stderr,
        )
