"""Directions in a latent space, from weights, features or classes, and how well they agree with known factors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Found(NamedTuple):
    """Directions [K, D] of unit length, the most important first, and how important each is [K]."""

    vectors: Tensor
    importance: Tensor


def sefa(matrix: Tensor, count: int) -> Found:
    """The directions along which an affine layer changes most: eigenvectors of A^T A with the largest eigenvalues.

    Shen & Zhou 2021, "Closed-form factorization of latent semantics in GANs", eq. 5-7.

    Args:
        matrix: A [F, D], from codes to the outputs of the layer; of several layers one below the other.
        count: the number of directions, at most D.

    Returns:
        The directions, and the share of each eigenvalue in their sum, which is ||A||_F^2.
    """
    values, vectors = torch.linalg.eigh(matrix.double().T @ matrix.double())
    return _largest(values, vectors, count)


def principal_components(points: Tensor, count: int) -> Found:
    """The principal components of points [N, D], and the share of each in their variance.

    Of the styles of a generator these are the directions of GANSpace (Härkönen et al. 2020, sec. 3.1).
    """
    centred = points.double() - points.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    return _largest(values, vectors, count)


def axes(points: Tensor, count: int) -> Found:
    """The coordinate axes along which points [N, D] vary most, and the share of each in their variance."""
    variances = points.double().var(dim=0)
    order = variances.argsort(descending=True, stable=True)[:count]
    return Found(
        torch.eye(points.shape[1], device=points.device)[order], (variances[order] / variances.sum()).float()
    )


def regressed_components(points: Tensor, features: Tensor, count: int) -> Found:
    """Directions of codes whose regression is on the principal components of early features.

    GANSpace for a generator without styles (Härkönen et al. 2020, sec. 3.2): component k of the features has the
    coordinates x_k; its direction is the least-squares solution of x_k u_k = z - mean(z). The coordinates are
    uncorrelated, so that each u_k is a regression of its own.

    Args:
        points: codes [N, D].
        features: those of the generator's early layer for the same codes, [N, F].
        count: the number of directions, less than N.

    Returns:
        The directions, and the share of each component in the variance of the features.
    """
    centred = features.double() - features.double().mean(dim=0)
    small = centred @ centred.T if len(centred) < centred.shape[1] else None
    if small is not None:  # the same components by a smaller matrix
        values, rows = torch.linalg.eigh(small)
    else:
        values, columns = torch.linalg.eigh(centred.T @ centred)
        rows = centred @ columns
    coordinates = rows[:, -count:].flip(1)  # [N, K]; their lengths do not matter, since directions are normalized
    vectors = coordinates.T @ (points.double() - points.double().mean(dim=0))
    return Found(_unit(vectors), (values.flip(0)[:count] / values.sum()).float())


def class_differences(points: Tensor, labels: Tensor, classes: int) -> Found:
    """For each class the mean of its points minus the mean of all others, and the distance between the two.

    Args:
        points: [N, D].
        labels: int64 [N].
        classes: the number of classes, 2 or more.

    Raises:
        ValueError: a class has no points.
    """
    means = class_means(points, labels, classes)
    share = torch.bincount(labels, minlength=classes).double()[:, None] / len(labels)
    others = (points.double().mean(dim=0) - share * means) / (1 - share)
    differences = means - others
    return Found(_unit(differences, signed=True), differences.norm(dim=1).float())


def class_means(points: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of the points [N, D] of each class, float64 [classes, D].

    Raises:
        ValueError: a class has no points.
    """
    counts = torch.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no points")
    sums = torch.zeros(classes, points.shape[1], dtype=torch.double, device=points.device)
    return sums.index_add(0, labels, points.double()) / counts[:, None]


def random_directions(dim: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` orthonormal directions [count, dim], drawn uniformly."""
    normal = torch.randn(dim, dim, dtype=torch.double, generator=generator)
    return torch.linalg.qr(normal).Q.T[:count].float()


def nearest_factors(images: Tensor, known: Tensor, factors: Tensor, chunk: int = 1000) -> Tensor:
    """The factors of the known image that is nearest in pixels to each image.

    Args:
        images: float [N, C, H, W] in [0, 1].
        known: float [M, C, H, W] in [0, 1], with all combinations of the factors.
        factors: int64 [M, K].
        chunk: images compared at a time.

    Returns:
        int64 [N, K].
    """
    rows = known.flatten(1)
    half = rows.square().sum(dim=1) / 2
    return torch.cat([factors[(half - part @ rows.T).argmin(dim=1)] for part in images.flatten(1).split(chunk)])


def rank_agreement(values: Tensor) -> Tensor:
    """How steadily a factor rises or falls along a direction: |mean over samples of the rank correlation|.

    Args:
        values: the values [S, T, K] of K factors, for S samples at T equidistant steps along the direction.

    Returns:
        [K], from 0 to 1: for every sample the factor moves steadily, and in the same way. Where a factor stays the
        same, the correlation is 0.
    """
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(values.cpu().numpy(), axis=1))
    ranks = ranks - ranks.mean(dim=1, keepdim=True)
    steps = torch.arange(values.shape[1]).double() - (values.shape[1] - 1) / 2
    products = (ranks * steps[:, None]).sum(dim=1)
    lengths = ranks.square().sum(dim=1).sqrt() * steps.norm()
    return (products / lengths.clamp_min(1e-12)).mean(dim=0).abs()


class Matching(NamedTuple):
    """For each factor a direction of its own: its number, how well both agree, and by how much more than all others.

    `gaps`: the agreement of the pair minus the largest agreement of the same direction with another factor.
    """

    directions: list[int]
    agreements: Tensor
    gaps: Tensor


def matched(table: Tensor) -> Matching:
    """Match factors one to one with directions, so that the sum of the agreements is the largest.

    Args:
        table: the agreements [D, K] of D directions with K factors, 2 <= K <= D.
    """
    from scipy.optimize import linear_sum_assignment

    first, second = table.topk(2, dim=1).values.unbind(dim=1)
    others = torch.where(table == first[:, None], second[:, None], first[:, None])
    gaps = table - others
    columns, rows = linear_sum_assignment(table.T.cpu().numpy(), maximize=True)
    return Matching(rows.tolist(), table[rows, columns], gaps[rows, columns])


def _largest(values: Tensor, vectors: Tensor, count: int) -> Found:
    values = values.clamp_min(0)
    return Found(_unit(vectors.T.flip(0)[:count]), (values.flip(0)[:count] / values.sum()).float())


def _unit(vectors: Tensor, signed: bool = False) -> Tensor:
    """Vectors [K, D] with length 1; unless `signed`, the sign makes the largest number positive."""
    vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
    if not signed:
        largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
        vectors = vectors * torch.where(largest < 0, -1.0, 1.0)
    return vectors.float()
