"""What models of several players share, such as a generator and a discriminator: a step is a list of phases."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel, OptimizerFactory
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.penalties import DiscriminatorPass, Penalties, Penalty

PhaseLoss = Callable[[Any, int], Tensor]  # (a batch, index of the update since training began) -> scalar


@dataclass(frozen=True)
class Phase:
    """One player's update: which modules move, by which optimizer, how many times in a row, down which loss."""

    name: str
    modules: tuple[nn.Module, ...]
    make_optimizer: OptimizerFactory
    loss: PhaseLoss
    repeats: int = 1  # updates in a step, each on fresh batches
    after: Callable[[], None] = lambda: None  # called after each update

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of all parameters of the modules."""
        return self.make_optimizer([p for module in self.modules for p in module.parameters()])


class AdversarialModel(GenerativeModel):
    """A model of several players, such as a generator and a discriminator, each with its own loss and optimizer.

    A subclass ends its constructor with `self.play(...)`, which lists the phases. One loop runs them at each step, in
    their order, by manual optimization; it clips gradients and accumulates batches for each player. The last phase
    makes one update a step, and `trainer.global_step` counts only those; its optimizer is the first in a checkpoint.

    Args:
        penalty: any number of penalties on the discriminator, by name.
    """

    not_fused: ClassVar[str] = "model.optimizer.fused=false"  # the override that gives optimizers that are not fused

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        seed: int = 0,
        num_classes: int = 0,
        penalty: dict[str, Penalty] | None = None,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes)
        self.penalty = Penalties(penalty or {})
        self.accumulated = 1  # batches whose gradients make one update
        self.clip_limit: float | None = None
        self.clip_algorithm = "norm"

    def play(self, *phases: Phase) -> None:
        """Let each step run these phases. A single one is left to Lightning's automatic optimization."""
        assert phases[-1].repeats == 1
        self.phases = phases
        self.automatic_optimization = len(phases) == 1
        self.batches_per_step = max(phase.repeats for phase in phases)

    def discriminator_phase(
        self, discriminator: nn.Module, optimizer: OptimizerFactory, loss: PhaseLoss, repeats: int = 1
    ) -> Phase:
        """The discriminator's phase, after each of whose updates the penalties may change its weights."""
        after = partial(self.penalty.after_update, discriminator)
        return Phase("discriminator", (discriminator,), optimizer, loss, repeats, after)

    def drawn(self, batch: Batch) -> Any:
        """What the losses get for a batch: the batch, with the random numbers that all phases of a step share."""
        return batch

    def penalized(self, loss: Tensor, seen: DiscriminatorPass, index: int) -> Tensor:
        """The discriminator's loss and the penalties that are due at its update of this index."""
        if not self.penalty:
            return loss
        penalty = self.penalty(seen, index)
        self.log_scalars({f"train/penalty_{name}": value for name, value in self.penalty.latest.items()})
        return loss + penalty

    # -- training --------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        self.count_images(batch)
        parts = [self.drawn(part) for part in split(batch, self.batches_per_step)]
        if self.automatic_optimization:
            return self.phases[0].loss(parts[0], self.step)
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        count_first(optimizers)
        for phase, optimizer in zip(self.phases, reversed(optimizers), strict=True):
            for repeat in range(phase.repeats):
                own = parts[repeat * self.accumulated :][: self.accumulated]
                self.update(phase, optimizer, own, self.step * phase.repeats + repeat)
        return None

    def update(self, phase: Phase, optimizer: LightningOptimizer, batches: list[Any], index: int) -> None:
        """One update of one player, down the mean of its losses on these batches.

        The other players' parameters are frozen meanwhile, but pass gradients to what they are given.
        """
        self.phase = phase.name
        with self.toggled_optimizer(optimizer):
            optimizer.zero_grad()
            for batch in batches:
                loss = phase.loss(batch, index) / len(batches)
                # Lightning's autocast spans the whole step, but a backward pass takes the precision of its forward
                # pass only outside of it: second derivatives would be in half precision.
                with torch.autocast(self.device.type, enabled=False):
                    self.manual_backward(loss)
            optimizer.step()
        phase.after()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [phase.optimizer() for phase in reversed(self.phases)]

    # -- clipping and accumulation ---------------------------------------------------------------------------

    def clip_and_accumulate(self, limit: float | None, algorithm: str, batches: int) -> None:
        self.clip_limit, self.clip_algorithm, self.accumulated = limit, algorithm, batches
        self.batches_per_step *= batches

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the player's gradients, which a gradient scaler has unscaled by now; log their norm before that."""
        if self.automatic_optimization:
            return  # Lightning clips
        logged = (self.step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        by_norm = self.clip_limit is not None and self.clip_algorithm == "norm"
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if logged or by_norm:
            norm = nn.utils.get_total_norm([p.grad for p in parameters])
            self.log_scalars({f"train/grad_norm_{self.phase}": norm})
        if by_norm:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_limit, norm)  # type: ignore[arg-type]
        elif self.clip_limit is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_limit)

    def on_fit_start(self) -> None:
        """Raises UserError: clipping that a fused optimizer would undo."""
        super().on_fit_start()
        fused = any(optimizer.defaults.get("fused") for optimizer in self.trainer.optimizers)
        if self.trainer.precision == "16-mixed" and fused and self.clip_limit is not None:
            raise UserError(
                f"trainer.gradient_clip_val with trainer.precision=16-mixed needs {self.not_fused}: a fused "
                "optimizer unscales gradients by itself, after they would have been clipped."
            )


def split(batch: Batch, parts: int) -> list[Batch]:
    """The batch in equal parts, images with their labels."""
    images = batch.images.chunk(parts)
    labels = [None] * parts if batch.labels is None else batch.labels.chunk(parts)
    return [Batch(*part) for part in zip(images, labels, strict=True)]


def count_first(optimizers: list[LightningOptimizer]) -> None:
    """Let `trainer.global_step` count the steps of the first optimizer only.

    Lightning counts every optimizer's step in manual optimization, so that max_steps, checkpoints and averages
    would mean something else for each number of phases. It re-arms these hooks before every training step. They are
    private: `test_max_steps_counts_generator_updates` fails if a new version changes them.
    """
    for optimizer in optimizers[1:]:
        optimizer._on_before_step = do_nothing_closure
        optimizer._on_after_step = do_nothing_closure
