"""Replays training steps as CUDA graphs: one launch instead of one for each operation.

The steps of a small network keep a GPU waiting, because Python needs more time to launch an operation than the GPU to
compute it. A CUDA graph records the operations of a step once; afterwards a single call launches all of them, on the
same memory and with the random numbers of the step that is due. Weights, step counts and logs are those of steps
without graphs (docs/speed.md says where they are the same to the bit).
"""

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel

WARM_UP = 3  # ordinary steps of each kind before one is recorded, in which libraries and optimizers allocate memory
MOST_GRAPHS = 8  # each has memory of its own
MOST_KINDS = 1000  # that are counted: a number that follows a schedule makes each step another kind
HINT_AFTER = 100  # steps of which none was replayed

MakeStep = Callable[[GenerativeModel, Batch, int], None]  # makes one step from a batch, the number of the call


class Recorded(NamedTuple):
    """A recorded step, and the memory that it reads its batch from and writes its losses to."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    losses: dict[str, Tensor]  # scalars, by phase


class StepGraphs:
    """Makes training steps, each by an ordinary call or as a graph.

    Steps are of one kind if they have the same `StepModule.step_constants` and the same shape of images. A kind is
    recorded after `WARM_UP` ordinary steps and replayed from then on. A step whose scalars are logged, or for which
    the model gives no constants, is an ordinary one.

    Attributes:
        ordinary: the number of steps that were not replayed.
        replayed: the number of steps that were.
    """

    def __init__(self, make_step: MakeStep) -> None:
        self.make_step = make_step
        self.recorded: dict[Hashable, Recorded] = {}
        self.ordinary, self.replayed = 0, 0
        self._seen: Counter[Hashable] = Counter()  # ordinary steps, by their kind

    def __call__(self, model: GenerativeModel, batch: Batch, call: int) -> None:
        constants = None if model.logging else model.step_constants()
        kind = (constants, batch.images.shape)
        if kind in self.recorded:
            self.replay(model, self.recorded[kind], batch)
            self.replayed += 1
            return
        if constants is not None and self._due(kind):
            self.recorded[kind] = self.record(model, batch, call)
        else:
            self.make_step(model, batch, call)
        self.ordinary += 1
        if self.ordinary == HINT_AFTER and not self.recorded:
            print(
                f"hint: trainer.cuda_graphs=true: none of {HINT_AFTER} steps could be recorded; docs/speed.md says "
                "which can be.",
                file=sys.stderr,
            )

    def _due(self, kind: Hashable) -> bool:
        """Count an ordinary step of this kind, and say whether it is the one to record."""
        if len(self._seen) == MOST_KINDS:
            self._seen.clear()
        self._seen[kind] += 1
        return self._seen[kind] > WARM_UP and len(self.recorded) < MOST_GRAPHS

    def record(self, model: GenerativeModel, batch: Batch, call: int) -> Recorded:
        """Make a step and record it.

        Raises:
            UserError: the step cannot be recorded, because it waits for the device or needs more memory.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in model.noise.generators():
            graph.register_generator_state(generator)
        labelled = batch.labels is not None and bool(model.num_classes or model.needs_labels)
        own = Batch(batch.images.clone(), batch.labels.clone() if labelled else None)  # type: ignore[union-attr]
        before = model.take_losses()
        try:
            with recordable(model), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.make_step(model, own, call)  # counts and keeps what it should, but computes nothing yet
                kept = model.take_losses()
                losses = {phase: total([loss for _, loss in some]) for phase, some in kept.items()}
        except RuntimeError as error:
            raise UserError(
                f"trainer.cuda_graphs=true cannot record a step of {type(model).__name__}: "
                f"{str(error).splitlines()[0]}. Set trainer.cuda_graphs=false."
            ) from error
        graph.replay()
        model.put_losses(before)
        recorded = Recorded(graph, own, losses)
        keep_losses(model, recorded)
        return recorded

    def replay(self, model: GenerativeModel, recorded: Recorded, batch: Batch) -> None:
        """Make a step from this batch by the operations of a recorded one, and count it in the model."""
        recorded.batch.images.copy_(batch.images)
        if recorded.batch.labels is not None:
            recorded.batch.labels.copy_(batch.labels)  # type: ignore[arg-type]
        recorded.graph.replay()
        keep_losses(model, recorded)
        model.count_images(batch)
        first: Any = optimizers_of(model)[0]
        first._on_before_step()  # Lightning counts steps here, see `count_first`
        first._on_after_step()


def total(losses: list[Tensor]) -> Tensor:
    """The sum of scalars; of a single one without an operation."""
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def keep_losses(model: GenerativeModel, recorded: Recorded) -> None:
    """Keep copies of the losses of this step, because the next replay writes to the same memory."""
    for phase, loss in recorded.losses.items():
        model.keep_loss(phase, loss.clone())


def optimizers_of(model: GenerativeModel) -> list[Any]:
    """Lightning's wrappers of the optimizers, always as a list."""
    optimizers = model.optimizers()
    return optimizers if isinstance(optimizers, list) else [optimizers]


@contextmanager
def recordable(model: GenerativeModel) -> Iterator[None]:
    """Inside, the optimizers can be recorded. Outside they would warn that they are slower so."""
    groups = [group for optimizer in optimizers_of(model) for group in optimizer.param_groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def rates_on_device(model: GenerativeModel, device: torch.device) -> None:
    """Keep learning rates that follow a schedule in memory that a recorded step reads, as float32.

    Raises:
        UserError: an optimizer that a graph cannot record.
    """
    for optimizer in optimizers_of(model):
        if not optimizer.defaults.get("fused"):
            raise UserError(
                f"trainer.cuda_graphs=true needs fused optimizers (Adam or AdamW, fused=true), not "
                f"{type(optimizer.optimizer).__name__}: set trainer.cuda_graphs=false."
            )
        for group in optimizer.param_groups:
            if model.schedule is not None and not isinstance(group["lr"], Tensor):
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
