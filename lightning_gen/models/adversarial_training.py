"""Training of models with several players, such as a generator and a discriminator: a step is a list of phases."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_gen.data.loader import Batch
from lightning_gen.data.poisson import PoissonBatch
from lightning_gen.distributed import average_gradients
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel, OptimizerFactory
from lightning_gen.models.optimizers import clear_gradients
from lightning_gen.models.steps import set_plain
from lightning_gen.networks.compilation import uncompiled
from lightning_gen.networks.precision import no_autocast
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.penalties import DiscriminatorPass, GeneratorPass, Penalties, Penalty

PhaseLoss = Callable[[Any, int], Tensor]  # (a batch, index of the update since training began) -> scalar


@dataclass(frozen=True)
class Phase:
    """One player's part of a training step: its modules, its optimizer, its loss and its number of updates."""

    name: str
    modules: tuple[nn.Module, ...]
    make_optimizer: OptimizerFactory
    loss: PhaseLoss
    repeats: int = 1  # updates per step, each on new batches
    after: Callable[[], None] = lambda: None  # called after each update

    def optimizer(self) -> torch.optim.Optimizer:
        """An optimizer of the parameters of all modules."""
        return self.make_optimizer([p for module in self.modules for p in module.parameters()])


class AdversarialModel(GenerativeModel):
    """Base class of models with several players, each with its own loss and optimizer.

    A subclass ends its constructor with a call of `self.play`, which lists the phases. At each step one loop runs
    them in order, by manual optimization; it clips gradients and accumulates batches for each player. The last phase
    makes one update per step, and `trainer.global_step` counts only these updates; its optimizer is the first in a
    checkpoint.

    Args:
        penalty: penalties on the discriminator, by name.
    """

    not_fused: ClassVar[str] = "model.optimizer.fused=false"  # the override for optimizers that are not fused

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
        self.accumulated = 1  # batches per update
        self.clip_limit: float | None = None
        self._others: dict[str, list[nn.Parameter]] = {}  # the parameters of the other players, by phase
        self.clip_algorithm = "norm"

    def play(self, *phases: Phase) -> None:
        """Set the phases of a step. A single phase uses Lightning's automatic optimization."""
        assert phases[-1].repeats == 1
        for name in self.penalty.of(GeneratorPass):
            if not self.has_styles():
                raise UserError(
                    f"model/penalty={name} needs a generator with styles: set model=gan networks=stylegan2."
                )
        self.phases = phases
        self.automatic_optimization = len(phases) == 1
        self.batches_per_step = max(phase.repeats for phase in phases)

    def discriminator_phase(
        self, discriminator: nn.Module, optimizer: OptimizerFactory, loss: PhaseLoss, repeats: int = 1
    ) -> Phase:
        """The discriminator's phase; after each update the penalties may change its weights."""
        after = partial(self.penalty.after_update, discriminator)
        return Phase("discriminator", (discriminator,), optimizer, loss, repeats, after)

    def drawn(self, batch: Batch) -> Any:
        """The batch as the losses get it: subclasses add the random numbers that all phases of a step share."""
        return batch

    def penalized(self, loss: Tensor, seen: DiscriminatorPass | GeneratorPass, index: int) -> Tensor:
        """A player's loss plus the penalties that are due at its update number `index`."""
        if not self.penalty.of(type(seen)):
            return loss
        with uncompiled(self.compiled):
            penalty = self.penalty(seen, index)
        if self.logging:
            latest = self.penalty.latest(type(seen), index)
            self.log_scalars({f"train/penalty_{name}": value.to(loss.device) for name, value in latest.items()})
        return loss + penalty

    def plays(self, phase: Phase) -> bool:
        """Whether the phase is part of this step; the last phase always is."""
        return True

    def has_styles(self) -> bool:
        """Whether the model has a generator with styles, and applies penalties on it."""
        return False

    # -- training --------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        self.count_images(batch)
        parts = [self.drawn(part) for part in split(batch, self.batches_per_step)]
        if len(self.phases) == 1:
            return self.phases[0].loss(parts[0], self.step)
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        count_first(optimizers)
        for phase, optimizer in zip(self.phases, reversed(optimizers), strict=True):
            for repeat in range(phase.repeats if self.plays(phase) else 0):
                own = parts[repeat * self.accumulated :][: self.accumulated]
                self.update(phase, optimizer, own, self.step * phase.repeats + repeat)
        return None

    def update(self, phase: Phase, optimizer: LightningOptimizer, batches: list[Any], index: int) -> None:
        """Update one player once, with the mean of its losses on these batches.

        Meanwhile the other players' parameters get no gradients, but gradients pass through them to their inputs.
        """
        set_plain(self, "phase", phase.name)
        with self.only(phase), self.own_gradients():
            clear_gradients(optimizer)
            for batch in batches:
                loss = phase.loss(batch, index)
                if len(batches) > 1:
                    loss = loss / len(batches)
                # Lightning's autocast covers the whole step, but a backward pass should run outside of autocast:
                # otherwise second derivatives would be in half precision.
                with no_autocast(loss):
                    self.manual_backward(loss)
            average_gradients(p for module in phase.modules for p in module.parameters())
            optimizer.step()
        phase.after()

    @contextmanager
    def only(self, phase: Phase) -> Iterator[None]:
        """Inside, the parameters of the other players get no gradients."""
        if phase.name not in self._others:
            own = {p for module in phase.modules for p in module.parameters()}
            found = (p for other in self.phases for module in other.modules for p in module.parameters())
            self._others[phase.name] = [p for p in found if p not in own and p.requires_grad]
        try:
            for parameter in self._others[phase.name]:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in self._others[phase.name]:
                parameter.requires_grad_(True)

    @contextmanager
    def own_gradients(self) -> Iterator[None]:
        """Inside, each process has the gradients of its own images.

        DistributedDataParallel expects a gradient for every parameter in every backward pass, or searches the graph
        for those that have none. Here a pass is of one player, whose gradients are averaged after its last batch.
        """
        wrapper = self.trainer.strategy.model
        if not isinstance(wrapper, DistributedDataParallel):
            yield
            return
        with wrapper.no_sync():
            yield
        wrapper.require_forward_param_sync = True  # the next step begins with the buffers of the first process

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [phase.optimizer() for phase in reversed(self.phases)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["penalties"] = self.penalty.logged_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.penalty.load_logged_state(checkpoint.get("penalties", {}))  # absent from those of earlier versions

    # -- clipping and accumulation ---------------------------------------------------------------------------

    def clip_and_accumulate(self, limit: float | None, algorithm: str, batches: int) -> None:
        self.clip_limit, self.clip_algorithm, self.accumulated = limit, algorithm, batches
        self.batches_per_step *= batches

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the player's gradients, and log their norm before clipping.

        A gradient scaler has unscaled them, unless the optimizer is fused; then there is no clipping. It leaves out
        an update whose gradients overflow, and so does the log.
        """
        if len(self.phases) == 1:
            return  # Lightning clips
        logged = (self.step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if not logged and self.clip_limit is None:
            return
        by_norm = self.clip_limit is not None and self.clip_algorithm == "norm"
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if logged or by_norm:
            norm = nn.utils.get_total_norm([p.grad for p in parameters])
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
                norm = norm / scaler.get_scale()
            if scaler is None or norm.isfinite():
                self.log_scalars({f"train/grad_norm_{self.phase}": norm})
        if by_norm:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_limit, norm)  # type: ignore[arg-type]
        elif self.clip_limit is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_limit)

    def check_training(self, trainer: Trainer) -> None:
        """Raise a UserError for clipping with a fused optimizer in half precision, which cannot work together."""
        super().check_training(trainer)
        fused = any(optimizer.defaults.get("fused") for optimizer in self.configure_optimizers())
        if trainer.precision == "16-mixed" and fused and self.clip_limit is not None:
            raise UserError(
                f"trainer.gradient_clip_val with trainer.precision=16-mixed needs {self.not_fused}, because a fused "
                "optimizer unscales gradients itself, after they are clipped."
            )


def split(batch: Batch, parts: int) -> list[Batch]:
    """Divide a batch into equal parts, or into its Poisson samples."""
    if parts == 1 and not isinstance(batch, PoissonBatch):
        return [batch]
    of: Any = list(batch.sizes) if isinstance(batch, PoissonBatch) else -(-len(batch.images) // parts)
    images = batch.images.split(of)
    labels = [None] * parts if batch.labels is None else batch.labels.split(of)
    return [Batch(*part) for part in zip(images, labels, strict=True)]


def count_first(optimizers: list[LightningOptimizer]) -> None:
    """Make `trainer.global_step` count the steps of the first optimizer only.

    In manual optimization Lightning counts the steps of every optimizer, so the meaning of max_steps, checkpoints and
    averages would depend on the number of phases. Lightning sets these hooks anew before every training step, so this
    is called at every step. They are private: `test_max_steps_counts_generator_updates` fails if a new version of
    Lightning changes them.
    """
    for optimizer in optimizers[1:]:
        optimizer._on_before_step = do_nothing_closure
        optimizer._on_after_step = do_nothing_closure
