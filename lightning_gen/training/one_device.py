"""Training on one device: several steps in one call of Lightning's loop.

Around each call of `training_step` Lightning's loop does a fixed amount of work, 0.4 ms and more: as much as the step
of a small network. Here one call makes all the steps up to the next one after which a callback acts. Weights, random
numbers, step counts, logs and checkpoints are those of one step in a call.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.optimizers import clear_gradients
from lightning_gen.training.adam import Updates
from lightning_gen.training.callbacks.steps import StepCallback
from lightning_gen.training.cuda_graphs import StepGraphs, rates_on_device

MOST_SECONDS = 0.2  # in one call, so that signals, the progress bar and limits on time are not late


def steps_per_call(config: DictConfig, model: GenerativeModel, processes: int) -> int | None:
    """The most steps in one call of Lightning's loop; None: no limit but time.

    `trainer.steps_per_call=auto` is 1 wherever something else may act on each batch: a callback or a model of the
    user, a profiler, several processes, or Lightning's own clipping and accumulation.

    Raises:
        UserError: a number above 1 where only 1 is possible.
    """
    trainer, asked = config.trainer, config.trainer.get("steps_per_call", "auto")
    lightnings = model.automatic_optimization and (
        trainer.gradient_clip_val is not None or trainer.accumulate_grad_batches > 1
    )
    if processes > 1 or trainer.strategy != "auto" or lightnings:
        if asked not in ("auto", 1):
            raise UserError(
                f"trainer.steps_per_call={asked} needs one device, trainer.strategy=auto and, for a model with one "
                "optimizer, no trainer.gradient_clip_val or trainer.accumulate_grad_batches: leave it auto."
            )
        return 1
    if asked != "auto":
        return asked
    own = type(model).__module__.startswith("lightning_gen.")
    return 1 if trainer.profiler or config.callbacks or not own else None


class OneDevice(SingleDeviceStrategy):
    """Makes steps one after the other until a callback is due.

    The model must be in manual optimization, and the loader must yield iterators over batches.

    Args:
        device: where to train.
        most: the most steps in one call; None: no limit but time.
        graphs: replay steps as CUDA graphs, see `StepGraphs`.
    """

    takes_streams = True

    def __init__(self, device: torch.device, most: int | None, graphs: bool = False) -> None:
        super().__init__(device)
        self.most = most
        self.graphs = StepGraphs(self.make_step) if graphs else None
        self._updates: dict[Optimizer, Updates] = {}

    def training_step(self, *args: Any, **kwargs: Any) -> None:
        """Make steps from batches, the first argument; the second is the number of the call."""
        batches, call = args
        model = self.lightning_module
        assert isinstance(model, GenerativeModel)
        if self.graphs is not None:
            rates_on_device(model, self.root_device)
        acting = [c for c in model.trainer.callbacks if isinstance(c, StepCallback)]  # type: ignore[attr-defined]
        every_step = [callback for callback in acting if not callback.every_n_steps]
        ends = time.monotonic() + MOST_SECONDS
        for _ in range(self.steps_until_due(model, acting)):
            self.one_step(model, batches, call)
            for callback in every_step:
                callback.on_step_end(model.trainer, model)
            if time.monotonic() > ends or model.trainer.should_stop:
                break

    def steps_until_due(self, model: GenerativeModel, callbacks: list[StepCallback]) -> int:
        """The number of steps from now until a callback acts."""
        step, last = model.step, model.trainer.max_steps
        left = [n - step % n for n in (callback.every_n_steps for callback in callbacks) if n]
        left += [last - step] if last > 0 else []
        return max(min([*left, self.most or left[0]]), 1)

    def one_step(self, model: GenerativeModel, batches: Iterator[Batch], call: int) -> None:
        batch = self.precision_plugin.convert_input(next(batches))
        model.on_train_batch_start(batch, call)
        (self.graphs or self.make_step)(model, batch, call)

    def make_step(self, model: GenerativeModel, batch: Batch, call: int) -> None:
        """Make one step by an ordinary call of the model's `training_step`, and its update."""
        with self.precision_plugin.train_step_context():
            loss = model.training_step(batch, call)
        if loss is not None:  # the model has one optimizer and leaves the rest to its caller
            optimizer = model.optimizers()
            assert isinstance(optimizer, LightningOptimizer)
            assert isinstance(loss, Tensor)
            clear_gradients(optimizer)
            self.backward(loss, None)
            optimizer.step()

    # -- without the hooks of callbacks, of which none here uses any ------------------------------------------

    @property
    def scales(self) -> bool:
        """Whether gradients are scaled, as in float16."""
        return getattr(self.precision_plugin, "scaler", None) is not None

    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        if self.scales:
            return super().backward(closure_loss, optimizer, *args, **kwargs)
        assert self.lightning_module is not None
        self.lightning_module.on_before_backward(closure_loss)
        closure_loss.backward(*args, **kwargs)
        return closure_loss

    def optimizer_step(
        self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any
    ) -> Any:
        if self.scales or closure is not do_nothing_closure:
            return super().optimizer_step(optimizer, closure, model, **kwargs)
        assert self.lightning_module is not None
        self.lightning_module.on_before_optimizer_step(optimizer)
        if kwargs:
            return optimizer.step(**kwargs)
        if optimizer not in self._updates:
            self._updates[optimizer] = Updates(optimizer)
        self._updates[optimizer]()
        return None
