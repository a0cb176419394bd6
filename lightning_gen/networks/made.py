"""Masked networks whose output i depends only on inputs before i (MADE, Germain et al. 2015)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedLinear(nn.Linear):
    """W x + b with fixed zeros in W, given by a mask [out, in]."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return F.linear(values, self.weight * self.mask.to(self.weight.dtype), self.bias)


class MADE(nn.Module):
    """x [..., Z] and a context [..., H] to `outputs` numbers for each dimension, [..., outputs, Z].

    The numbers of dimension i depend on x_j for j < i and on the whole context. `context` is the size H of the
    context, 0 for none. It reaches the outputs through the hidden units and, if `direct`, also directly, because the
    first dimension depends on no x and so has no hidden unit. The direct weights start at 0.
    """

    def __init__(
        self, dim: int, widths: Sequence[int], outputs: int = 2, context: int = 0, direct: bool = True
    ) -> None:
        super().__init__()
        self.outputs, self.dim = outputs, dim
        degrees = [torch.arange(1, dim + 1)]
        degrees += [torch.arange(width) % max(dim - 1, 1) + 1 for width in widths]
        masks = [(after[:, None] >= before[None, :]).float() for before, after in itertools.pairwise(degrees)]
        last = (degrees[0][:, None] > degrees[-1][None, :]).float()
        self.hidden = nn.ModuleList([MaskedLinear(mask) for mask in masks])
        self.context = nn.Linear(context, widths[0], bias=False) if context else None
        self.last = MaskedLinear(last.repeat(outputs, 1))
        self.direct = nn.Parameter(torch.zeros(outputs * dim, context)) if context and direct else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        hidden = x
        for index, layer in enumerate(self.hidden):
            sums = layer(hidden)
            if index == 0 and self.context is not None:
                assert context is not None
                sums = sums + self.context(context)
            hidden = F.elu(sums)
        result = self.last(hidden)
        if self.direct is not None:
            assert context is not None
            result = result + F.linear(context, self.direct)
        return result.unflatten(-1, (self.outputs, self.dim))
