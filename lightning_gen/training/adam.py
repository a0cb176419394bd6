"""Updates by a fused Adam, without what `Adam.step` looks up anew each time.

For each update `Adam.step` collects the weights one by one, with their averages and counts, and sorts them by device.
In a small network this takes longer than the update itself. Here they are collected once, and given to the same
operations of torch. So the weights are the same to the bit.

On a GPU that operation gives each of its processors 65,536 weights of one tensor, and leaves most of them idle in a
small network. In steps that are recorded as a CUDA graph, tensors are given to it in smaller pieces.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

PIECE = 16_384  # weights in a piece
MOST_PIECES = 128  # about the number of processors; larger networks occupy them as they are


class Group(NamedTuple):
    """A group of parameters, with what Adam keeps for each."""

    options: dict[str, Any]  # the group of the optimizer; its `lr` may change from step to step
    parameters: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]
    counts: list[Tensor]


class Updates:
    """Makes the updates of an optimizer, as its `step` does.

    The step is an ordinary one if the optimizer is no fused Adam or AdamW or has hooks, and while a parameter has no
    gradient. The lists are collected again where a checkpoint was loaded or the groups are others; tensors that are
    put into the optimizer's state by hand are not noticed.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.groups: list[Group] = []
        self._state: Any = None  # that the groups were collected from; loading a checkpoint replaces it

    @torch.no_grad()
    def __call__(self) -> None:
        """Make one update."""
        optimizer = self.optimizer
        same = optimizer.state is self._state and len(optimizer.param_groups) == len(self.groups)
        if not same or any(g.options is not now for g, now in zip(self.groups, optimizer.param_groups, strict=True)):
            optimizer.step()
            self.groups, self._state = collected(optimizer), optimizer.state
            return
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            optimizer.step()
            return
        gradients: list[list[Any]] = [[p.grad for p in group.parameters] for group in self.groups]
        if any(gradient is None for some in gradients for gradient in some):
            optimizer.step()
            return
        for group, some in zip(self.groups, gradients, strict=True):
            options, counts = group.options, group.counts
            tensors = [group.parameters, some, group.averages, group.squares]
            torch._foreach_add_(counts, 1)
            if options["capturable"]:  # the step is recorded, see `recordable`
                tensors, counts = in_pieces(tensors, counts)
            parameters, some, averages, squares = tensors
            beta1, beta2 = options["betas"]
            update = torch._fused_adamw_ if options["decoupled_weight_decay"] else torch._fused_adam_
            update(
                parameters,
                some,
                averages,
                squares,
                [],
                counts,
                lr=options["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=options["weight_decay"],
                eps=options["eps"],
                amsgrad=False,
                maximize=options["maximize"],
            )


def in_pieces(tensors: list[list[Tensor]], counts: list[Tensor]) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Lists of tensors, and the count of each, with pieces in place of the tensors; large networks as they are.

    Pieces are views. The tensors at one place of the lists lie in memory in the same order, without gaps.
    """
    if sum(tensor.numel() for tensor in tensors[0]) > PIECE * MOST_PIECES:
        return tensors, counts
    divided = [[_flat(tensor).split(PIECE) for tensor in some] for some in tensors]
    repeated = [count for count, pieces in zip(counts, divided[0], strict=True) for _ in pieces]
    return [[piece for pieces in some for piece in pieces] for some in divided], repeated


def _flat(tensor: Tensor) -> Tensor:
    """The values of a tensor in their order in memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def collected(optimizer: Optimizer) -> list[Group]:
    """The groups of a fused Adam or AdamW that has made a step; none if only its own `step` can make the next."""
    if type(optimizer) not in (Adam, AdamW):
        return []
    groups = []
    for options in optimizer.param_groups:
        parameters = options["params"]
        states: list[Any] = [optimizer.state.get(p) for p in parameters]
        kinds = {(p.device, p.dtype) for p in parameters}
        special = options["amsgrad"] or options["differentiable"] or options["capturable"]
        if special or not options["fused"] or len(kinds) != 1 or not all(states):
            return []
        kept = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        groups.append(Group(options, parameters, *kept))
    return groups
