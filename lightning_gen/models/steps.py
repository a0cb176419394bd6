"""The training steps of every model: their count, random numbers, learning rates and logged scalars."""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.optimizers import lay_out_state
from lightning_gen.objectives.private_gradients import PrivateGradients
from lightning_gen.objectives.schedules import value_at
from lightning_gen.randomness import StepNoise, Stream, mix

Schedule = Callable[[int, int], float]  # (completed steps, total steps) -> factor on the learning rates

Losses = dict[str, list[tuple[int, Tensor]]]  # by phase: the step, counted from 1, and a scalar

MOST_LOSSES = 1000  # kept before they are reduced to one number


def _shown(privacy: dict[str, float]) -> str:
    return ", ".join(f"privacy.{key}={value:g}" for key, value in privacy.items()) or "privacy=none"


def set_plain(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute that is no parameter, buffer or module, without the search of nn.Module for one.

    For what changes at each step: the search takes as long as an operation on a small tensor. Under the name of a
    parameter, a buffer or a module this would hide the one that is saved.
    """
    object.__setattr__(module, name, value)


class StepModule(LightningModule):
    """A LightningModule that counts training steps and images.

    A *step* is what `trainer.global_step` counts: one update of the weights or, where several players take turns, one
    round of updates. With `trainer.accumulate_grad_batches=k` each update uses k batches. `images_seen` counts the
    real images over all devices.
    """

    batches_per_step = 1  # the number of global batches in one call of `training_step`

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.images_seen = 0
        self.noise = StepNoise(mix(seed, Stream.TRAINING))
        self.schedule: Schedule | None = None
        self.scheduled: dict[str, Any] = {}  # numbers that follow the images seen, by their dotted attribute names
        self.lowered: list[tuple[int, float]] = []  # (step, factor): from that step on, learning rates are times that
        self.phase = ""  # the current phase of the training step, if it has several
        self.private: PrivateGradients | None = None  # training with differential privacy
        self.compiled = False  # whether `trainer.compile` has compiled its networks
        self.logging = True  # whether the scalars of this step are used; else `log_scalars` does nothing
        self._losses: Losses = defaultdict(list)  # of each phase, not yet in `_diverged`
        self._diverged: dict[str, Tensor] = {}
        self._logged: dict[str, list[Tensor]] = defaultdict(list)  # in this step
        self._step_begun: int | None = None

    @property
    def step(self) -> int:
        """Completed training steps."""
        return self.trainer.global_step

    @property
    def step_done(self) -> bool:
        """Whether the current step is complete; false while batches are being accumulated."""
        return self.step != self._step_begun

    def check_training(self, trainer: Trainer) -> None:
        """Check, before anything is trained, that this trainer can train the model; subclasses check more.

        Raises:
            UserError: the model lacks a training step or an optimizer.
        """
        name = type(self).__name__
        if type(self).training_step is LightningModule.training_step:
            raise UserError(f"{name} has no training_step(self, batch, batch_idx), which returns the loss: add it.")
        try:
            made = self.configure_optimizers()
        except ValueError as error:  # no parameters
            raise UserError(f"{name} cannot make its optimizer: {error}.") from error
        if not made:
            raise UserError(
                f"{name} has no optimizer: set self.make_optimizer to the argument `optimizer`, or add "
                "configure_optimizers, which returns one."
            )

    # -- hooks of Lightning, in the order of a step ----------------------------------------------------------

    def on_fit_start(self) -> None:
        self.check_training(self.trainer)
        if self.compiled and self.trainer.is_global_zero:
            print("compiling the networks: the first steps take up to a minute", file=sys.stderr)
        self.noise = StepNoise(mix(self.seed, Stream.TRAINING), self.trainer.global_rank, self.trainer.world_size)
        self._step_begun = None

    def on_train_start(self) -> None:
        """Give the optimizers the config's hyperparameters and the weights' layout, whatever a checkpoint has."""
        for optimizer in self.trainer.optimizers:
            lay_out_state(optimizer)
            for group in optimizer.param_groups:
                now = {key: value for key, value in optimizer.defaults.items() if key in group and key != "lr"}
                group.update(now, initial_lr=optimizer.defaults["lr"])

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        step = self.step
        if step != self._step_begun:
            set_plain(self, "_step_begun", step)
            self.begin_step()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        name = f"{type(self).__name__}.training_step"
        if self.automatic_optimization and not outputs:
            raise UserError(f"{name} returned None, so nothing is trained: it must return the loss, a scalar.")
        if not self.images_seen:
            raise UserError(f"{name} must call self.count_images(batch) for each batch.")

    def begin_step(self) -> None:
        """Called before a step's first batch: sets noise, schedules and learning rates, clears logged scalars."""
        now = self.step  # a chain of properties of Lightning, as is `trainer`
        self._logged.clear()
        logging = (now + 1) % getattr(self.trainer, "log_every_n_steps", 1) == 0
        if logging != self.logging:  # setting an attribute of a module takes time
            self.logging = logging
        self.noise.start(now)
        if self.scheduled:
            self.follow_schedules()
        self.follow_optimizer_schedules()
        if self.schedule is not None:
            lowered = math.prod(factor for step, factor in self.lowered if now >= step)
            self.set_learning_rates(self.schedule(*self.schedule_progress()) * lowered)

    def on_before_backward(self, loss: Tensor) -> None:
        """Keep the loss, for `diverged`."""
        if not loss.requires_grad:
            raise UserError(
                f"{type(self).__name__}.training_step: the loss does not depend on the weights; compute it without "
                ".detach(), .item() and torch.no_grad()."
            )
        self.keep_loss(self.phase, loss.detach())

    def keep_loss(self, phase: str, loss: Tensor) -> None:
        """Keep a scalar loss of the present step, for `diverged`."""
        losses = self._losses[phase]
        begun = self.step if self._step_begun is None else self._step_begun
        losses.append((begun + 1, loss))
        if len(losses) == MOST_LOSSES:
            self.diverged()

    def take_losses(self) -> Losses:
        """The losses that are kept, which are removed from the model."""
        taken, self._losses = self._losses, defaultdict(list)
        return taken

    def put_losses(self, losses: Losses) -> None:
        """Put back what `take_losses` took; what has been kept since then is dropped."""
        self._losses = losses

    def step_constants(self) -> tuple[Any, ...] | None:
        """Everything besides tensors that a step depends on, hashable; None: the step must not be replayed.

        Two steps with the same constants compute the same operations on the same tensors, so `trainer.cuda_graphs`
        replays one as the other. Called at the beginning of each step.
        """
        return None

    def scheduled_values(self) -> tuple[float, ...]:
        """The present values of all numbers, of the model and of its optimizers, that follow the images seen."""
        numbers = list(self.scheduled.values())
        for optimizer in getattr(self.trainer, "optimizers", []):
            numbers += getattr(optimizer, "scheduled", {}).values()
        return tuple(value_at(number, self.images_seen) for number in numbers)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for state in checkpoint.get("optimizer_states", []):
            for group in state["param_groups"]:
                group["lr"] = float(group.pop("rate", group["lr"]))  # with `trainer.cuda_graphs` lr is a tensor
        checkpoint["images_seen"], checkpoint["max_steps"] = self.images_seen, self.trainer.max_steps
        if self.private is not None:
            checkpoint["privacy"] = self.private.record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.images_seen = checkpoint["images_seen"]
        self._note_schedule(checkpoint["global_step"], checkpoint.get("max_steps"))  # None: of earlier versions
        was, now = checkpoint.get("privacy", {}), self.private.record if self.private else {}
        if was != now:
            raise UserError(
                f"the run was trained with {_shown(was)}, and now has {_shown(now)}: leave them as they were."
            )
        # Lightning has one count of steps for automatic and another for manual optimization. A run may go on with the
        # other kind, on more devices for example.
        loops = checkpoint["loops"]["fit_loop"] if "loops" in checkpoint else {}
        automatic = loops.get("epoch_loop.automatic_optimization.optim_progress", {}).get("optimizer", {}).get("step")
        for progress in (automatic, loops.get("epoch_loop.manual_optimization.optim_step_progress")):
            if progress is not None:
                progress["total"].update(ready=checkpoint["global_step"], completed=checkpoint["global_step"])

    def _note_schedule(self, step: int, before: int | None) -> None:
        """Say if the learning rate goes on from another value, because the run is longer or shorter than it was."""
        now = self.trainer.max_steps
        if self.schedule is None or before in (None, now) or not self.trainer.is_global_zero:
            return
        if self.schedule(step, before) != self.schedule(step, now):
            print(
                f"note: the learning rate follows its schedule over trainer.max_steps, which was {before} and is "
                f"{now}. So this run differs from one of {now} steps that was not interrupted.",
                file=sys.stderr,
            )

    def diverged(self) -> dict[str, Tensor]:
        """The first step of each phase whose loss was not finite, or infinity: scalar tensors on the device."""
        for phase, losses in self._losses.items():
            values = torch.stack([loss for _, loss in losses])
            steps = torch.tensor([step for step, _ in losses], device=values.device, dtype=torch.float)
            at = torch.where(values.isfinite(), torch.inf, steps).min()
            self._diverged[phase] = torch.minimum(self._diverged.get(phase, at), at)
        self._losses.clear()
        return self._diverged

    # -- what models call in `training_step` ------------------------------------------------------------------

    def count_images(self, batch: Batch) -> None:
        """Add these images to `images_seen`; call it once for each batch from the loader."""
        if self.private is None:
            count = len(batch.images) * self.trainer.world_size
        else:  # the number in a Poisson sample is random: its mean is counted
            count = self.private.batch_size * self.batches_per_step
        set_plain(self, "images_seen", self.images_seen + count)

    def log_scalars(self, scalars: dict[str, Tensor]) -> None:
        """Log scalar tensors [] by name; they stay on the device, so no step waits for it.

        They are used only every `trainer.log_every_n_steps` steps; `self.logging` says whether in this one.
        """
        if not self.logging:
            return
        for name, value in scalars.items():
            self._logged[name].append(value.detach())

    @property
    def scalars(self) -> dict[str, Tensor]:
        """The scalars that this step has logged: their means over the batches and updates of the step.

        Every `trainer.log_every_n_steps` steps they are averaged over the processes and written to the loggers. In
        other steps there are none.
        """
        return {name: torch.stack(values).mean() for name, values in self._logged.items()}

    # -- schedules and learning rates -------------------------------------------------------------------------

    def follow_schedules(self) -> None:
        """Set each scheduled number of the model to its value after the images seen."""
        for path, number in self.scheduled.items():
            *owners, name = path.split(".")
            owner: Any = self
            for part in owners:
                owner = owner[part] if isinstance(owner, Mapping | nn.ModuleDict) else getattr(owner, part, None)
            value, current = value_at(number, self.images_seen), getattr(owner, name, None)
            if isinstance(current, Tensor):
                current.fill_(value)
            elif current is None:
                raise UserError(
                    f"model.{path} cannot be a schedule: {type(owner).__name__} uses it only when it is built."
                )
            else:
                setattr(owner, name, value)

    def follow_optimizer_schedules(self) -> None:
        """Set each scheduled number of the optimizers to its value after the images seen."""
        for optimizer in getattr(self.trainer, "optimizers", []):
            for name, number in getattr(optimizer, "scheduled", {}).items():
                key = "initial_lr" if name == "lr" and self.schedule is not None else name
                for group in optimizer.param_groups:
                    group[key] = value_at(number, self.images_seen)

    def schedule_progress(self) -> tuple[int, int]:
        """Completed steps and total steps, for the learning-rate schedule."""
        return self.trainer.global_step, self.trainer.max_steps

    def set_learning_rates(self, factor: float) -> None:
        """Set each optimizer's learning rate to its initial one, `initial_lr`, times this factor."""
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                rate = group.setdefault("initial_lr", group["lr"]) * factor
                if not isinstance(group["lr"], Tensor):
                    group["lr"] = rate
                elif rate != group.get("rate"):  # a tensor that recorded steps read, see `rates_on_device`
                    group["lr"].fill_(rate)
                    group["rate"] = rate

    # -- clipping and accumulation ----------------------------------------------------------------------------

    def clip_and_accumulate(self, limit: float | None, algorithm: str, batches: int) -> None:
        """Clip gradients at `limit`, by `norm` or by `value`, and use `batches` batches for each update.

        Called for models with manual optimization, for which Lightning does neither.

        Raises:
            UserError: the model cannot do this.
        """
        if limit is not None or batches != 1:
            raise UserError(
                "trainer.gradient_clip_val and trainer.accumulate_grad_batches do not work with "
                f"{type(self).__name__}, which updates its weights itself: leave them null and 1."
            )
