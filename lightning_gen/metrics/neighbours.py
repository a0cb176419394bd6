"""Nearest neighbours in feature space, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_gen.metrics.features import full_float32

BLOCK = 2**22
"""Distances in a block; 32 MB in float64. Larger blocks are slower on a CPU, smaller ones on a GPU."""


def squared_distance_blocks(queries: Tensor, points: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances [rows, P] in float64, from blocks of queries [Q, d] to all points [P, d].

    In float32, |x|^2 + |y|^2 - 2xy does not cancel for duplicates.
    """
    queries, points = _centred(queries, points)
    squares = points.square().sum(1)
    rows = max(1, BLOCK // len(points))
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        square = torch.addmm(squares[None], block, points.T, alpha=-2)
        square += block.square().sum(1, keepdim=True)
        yield slice(start, start + len(block)), square.clamp_min_(0)


def _centred(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, relative to the mean of the points; on the CPU instead of MPS, which has no float64."""
    if queries.device.type == "mps":
        queries, points = queries.cpu(), points.cpu()
    centre = points.double().mean(0)
    return queries.double() - centre, points.double() - centre


def nearest(queries: Tensor, points: Tensor, k: int = 1, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query, nearest first.

    The search is in float32, which is twice as fast. All points that could be among the k nearest, given its rounding
    error, are then compared by their distances in float64, so the result is exact.

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
    queries, points = _centred(queries, points)
    low, squares = points.float(), points.square().sum(1)
    longest, rows = squares.max().sqrt(), max(1, BLOCK // len(points))
    distances, indices = [], []
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        with full_float32():
            relative = torch.addmm(squares.float(), block.float(), low.T, alpha=-2)  # without |query|^2
        if skip is not None:
            relative.scatter_(1, skip[start : start + rows, None].to(relative.device), float("inf"))
        reach = relative.amin(1) if k == 1 else relative.topk(k, largest=False).values[:, -1]
        length = block.square().sum(1).sqrt()
        rounding = (points.shape[1] + 8) * 2**-23 * (longest + length).square()  # at most, of each distance
        query, point = (relative <= (reach + 2 * rounding).float()[:, None]).nonzero(as_tuple=True)
        values = (block[query] - points[point]).square().sum(1)
        values, order = values.sort(stable=True)
        order = order[query[order].argsort(stable=True)]  # by query, then by distance, then by index
        first = torch.searchsorted(query, torch.arange(len(block), device=query.device))
        chosen = order[first[:, None] + torch.arange(k, device=query.device)]
        distances.append((block[query[chosen]] - points[point[chosen]]).square().sum(-1))
        indices.append(point[chosen])
    return torch.cat(distances).sqrt(), torch.cat(indices)


def radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point [P, d] to its k-th nearest other point, float64 [P]."""
    itself = torch.arange(len(points), device=points.device)
    return nearest(points, points, k, skip=itself)[0][:, -1]
