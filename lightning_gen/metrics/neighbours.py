"""Nearest neighbours in feature space, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**24
"""Distances in a block; 128 MB in float64."""


def squared_distance_blocks(queries: Tensor, points: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances [rows, P] in float64, from blocks of queries [Q, d] to all points [P, d].

    In float32, |x|^2 + |y|^2 - 2xy does not cancel for duplicates. MPS has no float64, so there the work is done on
    the CPU.
    """
    if queries.device.type == "mps":
        queries, points = queries.cpu(), points.cpu()
    centre = points.double().mean(0)
    queries, points = queries.double() - centre, points.double() - centre
    squares = points.square().sum(1)
    rows = max(1, BLOCK // len(points))
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        square = torch.addmm(squares[None], block, points.T, alpha=-2)
        square += block.square().sum(1, keepdim=True)
        yield slice(start, start + len(block)), square.clamp_min_(0)


def nearest(queries: Tensor, points: Tensor, k: int = 1, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query, nearest first.

    Args:
        queries: [Q, d].
        points: [P, d].
        k: number of neighbours.
        skip: for each query the index [Q] of a point to leave out, such as the query itself.

    Returns:
        Distances, float64 [Q, k], and indices, int64 [Q, k].

    Raises:
        ValueError: fewer than k points are left.
    """
    if len(points) - (skip is not None) < k:
        raise ValueError(f"cannot find {k} nearest neighbours among {len(points)} points")
    distances, indices = [], []
    for rows, block in squared_distance_blocks(queries, points):
        if skip is not None:
            block.scatter_(1, skip[rows, None].to(block.device), float("inf"))
        values, index = block.min(1, keepdim=True) if k == 1 else block.topk(k, largest=False)
        distances.append(values)
        indices.append(index)
    return torch.cat(distances).sqrt(), torch.cat(indices)


def radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point [P, d] to its k-th nearest other point, float64 [P]."""
    itself = torch.arange(len(points), device=points.device)
    return nearest(points, points, k, skip=itself)[0][:, -1]
