"""What training by several optimizers needs: counting, clipping, batches in parts, and a watch on collapse."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError, did_you_mean

LEAST_DIVERSITY = 0.2  # of the real images' standard deviation in feature space; healthy runs have 0.8 to 1.1
LEAST_RECALL = 0.01
MOST_VARIATION = 0.5  # between the frequencies of classes: half of the samples are of classes that others lack


def check_options(output: str, outputs: Collection[str], on_collapse: str) -> None:
    """Raises UserError: an output or a reaction to collapse that is not known."""
    if output not in outputs:
        raise UserError(
            f"model.output={output} is not known: use {', '.join(outputs)}.{did_you_mean(output, outputs)}"
        )
    if on_collapse not in ("warn", "stop"):
        raise UserError(f"model.on_collapse={on_collapse} is not known: use warn or stop.")


def check_penalties(penalties: dict[str, Any]) -> None:
    """Raises UserError: values for a penalty that was not chosen."""
    for name, penalty in penalties.items():
        if not isinstance(penalty, nn.Module):
            raise UserError(
                f"model.penalty.{name} is set, but not chosen: model/penalty=[{name}] chooses it; to "
                f"go without it set model.penalty.{name}.weight=0."
            )


def count_only(optimizers: list[LightningOptimizer], counted: int) -> None:
    """Let `trainer.global_step` count the steps of one optimizer only.

    Lightning counts every optimizer's step in manual optimization, so that max_steps, checkpoints and averages
    would mean something else for each d_steps. It re-arms these hooks before every training step. They are
    private: `test_max_steps_counts_generator_updates` fails if a new version changes them.
    """
    for index, optimizer in enumerate(optimizers):
        if index != counted:
            optimizer._on_before_step = do_nothing_closure
            optimizer._on_after_step = do_nothing_closure


def update(model: Any, name: str, optimizer: LightningOptimizer, losses: Iterable[Callable[[], Tensor]]) -> None:
    """One update of one player, down the mean of the losses, each called once; `name` is told where one diverges.

    The other players' parameters are frozen meanwhile, but pass gradients to what they are given.
    """
    model.phase, losses = name, list(losses)
    with model.toggled_optimizer(optimizer):
        optimizer.zero_grad()
        for loss in losses:
            value = loss() / len(losses)
            # Lightning's autocast spans the whole step, but a backward pass takes the precision of its forward pass
            # only outside of it: second derivatives would be in half precision.
            with torch.autocast(model.device.type, enabled=False):
                model.manual_backward(value)
        optimizer.step()


def split(batch: Batch, parts: int) -> list[Batch]:
    """The batch in equal parts, images with their labels."""
    images = batch.images.chunk(parts)
    labels = [None] * parts if batch.labels is None else batch.labels.chunk(parts)
    return [Batch(*part) for part in zip(images, labels, strict=True)]


@contextmanager
def frozen_statistics(network: nn.Module, frozen: bool = True) -> Iterator[None]:
    """Batch norm normalizes by the batch inside, but its running statistics stand still."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)] if frozen else []
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class Clipping:
    """Clips the gradients of each player, and tells their norms at the steps that are logged.

    Lightning clips nothing under manual optimization; its hook before each optimizer step, where this is called,
    comes after a gradient scaler has unscaled.
    """

    def __init__(self) -> None:
        self.limit: float | None = None
        self.algorithm = "norm"

    def __call__(self, model: Any, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        logged = (model.step + 1) % model.trainer.log_every_n_steps == 0
        if self.limit is None and not logged:
            return {}
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.limit is not None and self.algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, self.limit)
            return {}
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        if self.limit is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.limit, norm)
        return {f"train/grad_norm_{model.phase}": norm} if logged else {}


def check_fit(model: Any) -> None:
    """What only the trainer knows: the number of processes, the precision.

    Raises:
        UserError: a generator batch that does not divide, or clipping that a fused optimizer would undo.
    """
    size, processes = model.generator_batch_size, model.trainer.world_size
    if size is not None and (size < 1 or size % processes):
        raise UserError(
            f"model.generator_batch_size={size} is over all devices and does not divide by {processes} of them."
        )
    fused = any(optimizer.defaults.get("fused") for optimizer in model.trainer.optimizers)
    if model.trainer.precision == "16-mixed" and fused and model.clipping.limit is not None:
        raise UserError(
            "trainer.gradient_clip_val with trainer.precision=16-mixed needs model.generator_optimizer.fused=false: "
            "a fused optimizer unscales gradients by itself, after they would have been clipped."
        )


def collapse(metrics: dict[str, float], stop: bool) -> list[str]:
    """What the metrics of an evaluation say about mode collapse, as warnings.

    Raises:
        UserError: there is something to say and `stop` is true.
    """
    signs = []
    diversity, recall = metrics.get("eval/diversity", 1.0), metrics.get("eval/recall", 1.0)
    if diversity < LEAST_DIVERSITY:
        signs.append(f"its samples vary {diversity:.2f} times as much as real images")
    if recall < LEAST_RECALL:
        signs.append(f"recall is {recall:.3f}")
    if metrics.get("eval/class_total_variation", 0.0) > MOST_VARIATION:
        signs.append(f"its samples fall into {metrics.get('eval/classes_found', 0):.0f} classes only")
    if metrics.get("eval/modes_lost", 0.0) > metrics.get("eval/modes_found", 0.0):
        signs.append(f"{metrics['eval/modes_found']:.0f} modes are found and {metrics['eval/modes_lost']:.0f} lost")
    if not signs:
        return []
    message = (
        f"the generator has collapsed: {', '.join(signs)}. Try model/penalty=r1 or a heavier one, "
        f"model.d_steps=2 or a lower model.generator_optimizer.lr."
    )
    if stop:
        raise UserError(f"{message} (model.on_collapse=warn goes on.)")
    return [message]
