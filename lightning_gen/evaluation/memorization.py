"""Does the model replay its training images? Distances to them, against those of held-out real images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_gen.evaluation.features import to_uint8
from lightning_gen.evaluation.neighbours import nearest


def memorization(fake: Tensor, train: Tensor, held_out: Tensor) -> dict[str, float]:
    """How much closer samples lie to the training set than new real images do.

    - ``nearest_train_ratio``: median distance of samples to their nearest training image over that of held-out
      images; about 1 for a model that generalises, 0 for one that copies.
    - ``data_copying``: the statistic C_T of Meehan et al. 2020 ("A non-parametric test to detect data-copying",
      sec. 3, over the whole space): z-score of the Mann-Whitney test of those distances; below -3 the model
      copies, above 3 it underfits.
    - ``auth_pct``: percentage of authentic samples (``authenticity``), with ``auth_pct_floor`` that of held-out
      images.

    Args:
        fake: features of samples [N, d].
        train: features of the whole training set [T, d]: a copy of an image that is left out goes unseen.
        held_out: features of real images that the model has not seen [M, d].
    """
    fake_distance, fake_index = nearest(fake, train)
    real_distance, real_index = nearest(held_out, train)
    fake_distance, real_distance = fake_distance[:, 0], real_distance[:, 0]
    typical = float(real_distance.median())
    return {
        "nearest_train_ratio": float(fake_distance.median()) / typical if typical > 0 else float("inf"),
        "data_copying": mann_whitney_z(fake_distance, real_distance),
        "auth_pct": _authentic(fake_distance, fake_index[:, 0], train),
        "auth_pct_floor": _authentic(real_distance, real_index[:, 0], train),
    }


def authenticity(fake: Tensor, train: Tensor) -> float:
    """AuthPct: a sample is authentic if its nearest training image has a nearer neighbour than the sample.

    Alaa et al. 2022, "How faithful is your synthetic data?", sec. 3.3; Stein et al. 2023.

    Args:
        fake: features of samples [N, d].
        train: features of training images [T, d].

    Returns:
        The percentage of authentic samples, 0 to 100.
    """
    distance, index = nearest(fake, train)
    return _authentic(distance[:, 0], index[:, 0], train)


def mann_whitney_z(x: Tensor, y: Tensor) -> float:
    """z-score of the Mann-Whitney U test that x [N] tends to be larger than y [M], ties counted half."""
    n, m = len(x), len(y)
    ranked = y.sort().values
    below = torch.searchsorted(ranked, x, right=False) + torch.searchsorted(ranked, x, right=True)
    u = float(below.double().sum()) / 2
    _, ties = torch.cat([x, y]).unique(return_counts=True)
    total = n + m
    correction = float((ties.double() ** 3 - ties).sum()) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - correction)
    return (u - n * m / 2) / math.sqrt(variance) if variance > 0 else 0.0


def neighbour_picture(fake: Tensor, fake_features: Tensor, train: Tensor, train_features: Tensor) -> Tensor:
    """Samples, each with its three nearest training images to its right, one sample a row.

    Args:
        fake: samples [R, C, H, W], uint8 or float in [0, 1].
        fake_features: their features [R, d].
        train: training images uint8 [T, C, H, W].
        train_features: their features [T, d].

    Returns:
        uint8 [C, R * H, 4 * W].
    """
    index = nearest(fake_features, train_features, k=min(3, len(train)))[1]
    found = train[index.to(train.device)].to(fake.device)  # [R, k, C, H, W]
    rows = torch.cat([to_uint8(fake)[:, None], found], dim=1)
    count, columns, channels, height, width = rows.shape
    return rows.permute(2, 0, 3, 1, 4).reshape(channels, count * height, columns * width)


def _authentic(distance: Tensor, index: Tensor, train: Tensor) -> float:
    # Only the training images that are somebody's nearest need their own neighbour: N, not T, searches.
    wanted, back = index.unique(return_inverse=True)
    own = nearest(train[wanted.to(train.device)], train, skip=wanted)[0][:, 0]
    return 100 * float((distance > own[back]).double().mean())
