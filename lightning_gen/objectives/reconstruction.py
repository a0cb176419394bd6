"""Reconstruction errors per image [B], summed over pixels.

Unless said otherwise, they take the decoder's raw output and images in [0, 1], both [B, C, H, W]; the reconstruction
x' is the sigmoid of the raw output.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from lightning_gen.networks.precision import full_precision


def squared_error(raw: Tensor, images: Tensor) -> Tensor:
    """||x - x'||^2, [B]."""
    return (full_precision(raw).sigmoid() - images).square().flatten(1).sum(dim=1)


def absolute_error(raw: Tensor, images: Tensor) -> Tensor:
    """||x - x'||_1, [B]."""
    return (full_precision(raw).sigmoid() - images).abs().flatten(1).sum(dim=1)


def cross_entropy(raw: Tensor, images: Tensor) -> Tensor:
    """-sum_i x_i log x'_i + (1 - x_i) log(1 - x'_i), in nats, [B] (Hinton & Salakhutdinov 2006, supplement).

    For grey images this is not a likelihood: its minimum, at x' = x, is the entropy of the grey values, not 0.
    """
    raw, images = full_precision(raw).flatten(1), full_precision(images).flatten(1)
    return F.binary_cross_entropy_with_logits(raw, images, reduction="none").sum(dim=1)


def error_of_rows(raw: Tensor, rows: Tensor, places: Tensor, blocks: Sequence[slice]) -> Tensor:
    """Squared error of the numeric columns plus cross entropy, in nats, of the categorical ones, [B].

    `raw` and `rows` are [B, ..., D]. At `places`, int64, are numeric columns, whose output is the reconstruction; at
    `blocks` categorical ones, whose outputs are logits.
    """
    raw, rows = full_precision(raw).flatten(1), rows.flatten(1)
    error = (raw - rows).index_select(1, places).square().sum(dim=1)
    for block in blocks:
        error = error - (rows[:, block] * raw[:, block].log_softmax(dim=1)).sum(dim=1)
    return error


def squared_error_of_values(values: Tensor, targets: Tensor) -> Tensor:
    """||v - t||^2 of values and targets in any range, [B]."""
    return (full_precision(values) - targets).square().flatten(1).sum(dim=1)
