"""How strange images are, and how well a score tells anomalies from normal images. A higher score is stranger."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gen.metrics.neighbours import nearest
from lightning_gen.pictures import to_picture

RESAMPLES_AT_ONCE = 50


class Interval(NamedTuple):
    """A value, and the interval that contains 95 % of its bootstrap resamples."""

    value: float
    low: float
    high: float


def auroc(normal: Tensor, anomalies: Tensor) -> float:
    """The area under the ROC curve: the probability that an anomaly has a higher score than a normal image.

    A tie counts one half, so that a constant score has 0.5 (Hanley & McNeil 1982).

    Args:
        normal: scores of normal images [N].
        anomalies: scores of anomalies [M].

    Raises:
        ValueError: no normal images, or no anomalies.
    """
    return float(_area(*_counts(normal, anomalies)[:2]))


def average_precision(normal: Tensor, anomalies: Tensor) -> float:
    """The mean precision over the anomalies, each found by a threshold at its own score.

    This is the area under the precision-recall curve without interpolation. It depends on the share of anomalies: a
    constant score has M / (N + M). Arguments and errors as in `auroc`.
    """
    return float(_precision(*_counts(normal, anomalies)[:2]))


def separation(normal: Tensor, anomalies: Tensor, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """`auroc` and `average_precision` with 95 % bootstrap intervals (percentiles; Efron & Tibshirani 1993, ch. 13).

    Normal images and anomalies are resampled separately, so that their numbers stay the same. The interval is that of
    the test images: it does not contain the difference between two trainings.

    Args:
        normal, anomalies: scores, as in `auroc`.
        resamples: the number of bootstrap resamples.
        seed: of the resamples; the global generator is not used.
    """
    *counts, places = _counts(normal, anomalies)
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {"auroc": [], "average_precision": []}
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        rows = min(RESAMPLES_AT_ONCE, resamples - start)
        drawn = [_resampled(place, counts[0].shape[1], rows, generator) for place in places]
        for name, measure in MEASURES.items():
            found[name].append(measure(*drawn))
    limits = torch.tensor([0.025, 0.975], dtype=torch.float64)
    result = {}
    for name, measure in MEASURES.items():
        low, high = torch.cat(found[name]).quantile(limits).tolist()
        result[name] = Interval(float(measure(*counts)), low, high)
    return result


def _counts(normal: Tensor, anomalies: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """How many of both have each different score, in ascending order: [1, G] each, and the place of each score."""
    if not len(normal) or not len(anomalies):
        raise ValueError(f"expected normal images and anomalies, got {len(normal)} and {len(anomalies)}")
    values, place = torch.cat([normal, anomalies]).double().cpu().unique(return_inverse=True)
    places = place[: len(normal)], place[len(normal) :]
    one, other = (torch.bincount(part, minlength=len(values)).double()[None] for part in places)
    return one, other, places


def _resampled(place: Tensor, groups: int, rows: int, generator: torch.Generator) -> Tensor:
    """The counts [rows, G] of as many draws with replacement from the places [N]."""
    drawn = place[torch.randint(len(place), (rows, len(place)), generator=generator)]
    return torch.zeros(rows, groups, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(drawn.shape).double())


def _area(normal: Tensor, anomalies: Tensor) -> Tensor:
    """AUROC [R] from counts [R, G] of each score in ascending order."""
    below = normal.cumsum(1) - normal / 2  # a tie counts one half
    return (anomalies * below).sum(1) / (normal.sum(1) * anomalies.sum(1))


def _precision(normal: Tensor, anomalies: Tensor) -> Tensor:
    """Average precision [R] from counts [R, G] of each score in ascending order."""
    found = anomalies.flip(1).cumsum(1)
    precision = found / (found + normal.flip(1).cumsum(1)).clamp_min(1)
    return (anomalies.flip(1) * precision).sum(1) / anomalies.sum(1)


MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"auroc": _area, "average_precision": _precision}


def mahalanobis(codes: Tensor, reference: Tensor) -> Tensor:
    """The Mahalanobis distance of codes [N, Z] from the mean of reference codes [M, Z], float64 [N].

    The covariance is that of the reference codes. Directions in which they do not vary, to rounding, are left out.
    """
    reference, codes = reference.double(), codes.double()
    mean = reference.mean(dim=0)
    centred = reference - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / max(len(reference) - 1, 1))
    varying = variances > variances.max() * reference.shape[1] * torch.finfo(torch.float32).eps
    along = (codes - mean) @ directions[:, varying]
    return (along.square() / variances[varying]).sum(dim=1).sqrt()


def neighbour_distance(codes: Tensor, reference: Tensor, k: int = 5) -> Tensor:
    """The distance of codes [N, Z] to their k-th nearest reference code of [M, Z], float64 [N].

    Source: Ramaswamy et al. 2000.

    Raises:
        ValueError: fewer than k reference codes.
    """
    return nearest(codes, reference, k)[0][:, -1]


def png_nats(images: Tensor) -> Tensor:
    """The length of each image as a PNG file, in nats, float64 [N]: an estimate of its complexity.

    A PNG file is a lossless code, so its length in bits is -log2 of a probability that knows nothing of the data set.
    Source: Serra et al. 2020, sec. 3.

    Args:
        images: float [N, C, H, W] in [0, 1], with 1 or 3 channels; rounded to 8 bits.
    """
    lengths = []
    for image in images:
        file = io.BytesIO()
        to_picture(image.float()).save(file, "PNG", optimize=True)
        lengths.append(8 * math.log(2) * file.tell())
    return torch.tensor(lengths, dtype=torch.float64)
