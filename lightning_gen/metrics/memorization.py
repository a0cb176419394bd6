"""Does the model replay its training images? Distances to them, compared with those of held-out real images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gen.metrics.neighbours import nearest
from lightning_gen.pictures import Grid, to_float, to_uint8

NEAREST = ("nearest", "second", "third")
COPY = 3  # an image is a copy if it is this many times closer to its nearest training image than to the next one
PIXELS = 2**24  # of training images in memory at once


@dataclass(frozen=True)
class Nearness:
    """How close a set of images is to the training set.

    Attributes:
        distance: of each image to its nearest training image, float64 [N].
        authentic: percentage of authentic images; see ``authenticity``.
        copies: percentage of copies: images more than three times closer to their nearest training image than to the
            second nearest (Yoon et al. 2023, "Diffusion probabilistic models generalize when they fail to memorize";
            Gu et al. 2023, "On memorization in diffusion models"). A blurred image does not count, because it is
            close to many training images; neither does a copy of an image that the training set has twice.
    """

    distance: Tensor
    authentic: float
    copies: float

    @classmethod
    def of(cls, features: Tensor, train: Tensor) -> Nearness:
        """From features [N, d] and the features of the training images [T, d]."""
        distances, indices = nearest(features, train, 2)
        (distance, second), index = distances.T.contiguous(), indices[:, 0]
        # Only training images that are the nearest of some image need their own neighbour: N searches instead of T.
        wanted, back = index.unique(return_inverse=True)
        own = nearest(train[wanted.to(train.device)], train, skip=wanted)[0][:, 0]
        copies = distance < second / COPY
        return cls(distance, *(100 * float(found.double().mean()) for found in (distance > own[back], copies)))


def memorization(fake: Nearness, held_out: Nearness) -> dict[str, float]:
    """How much closer samples are to the training set than new real images are.

    - ``nearest_train_ratio``: median distance of samples to their nearest training image, divided by that of held-out
      images; about 1 for a model that generalizes, 0 for one that copies; NaN if both are 0.
    - ``data_copying``: the statistic C_T of Meehan et al. 2020 ("A non-parametric test to detect data-copying") over
      the whole space, the z-score of a Mann-Whitney test on those distances. Far below 0 the model copies, far above
      0 it underfits.
    - ``auth_pct``: percentage of authentic samples; ``auth_pct_floor``: that of held-out images.
    - ``copied_pct``: percentage of samples that are copies; ``copied_pct_floor``: that of held-out images.

    Args:
        fake: of samples, to the whole training set; a copy of an image that is left out would not be noticed.
        held_out: of real images that the model has not seen, to the same training set.
    """
    nearest_fake, typical = float(fake.distance.median()), float(held_out.distance.median())
    return {
        "nearest_train_ratio": nearest_fake / typical if typical > 0 else math.inf if nearest_fake > 0 else math.nan,
        "data_copying": mann_whitney_z(fake.distance, held_out.distance),
        "auth_pct": fake.authentic,
        "auth_pct_floor": held_out.authentic,
        "copied_pct": fake.copies,
        "copied_pct_floor": held_out.copies,
    }


def authenticity(fake: Tensor, train: Tensor) -> float:
    """AuthPct: a sample is authentic if its nearest training image has a training image closer than the sample.

    Alaa et al. 2022, "How faithful is your synthetic data?"; as a percentage, Stein et al. 2023.

    Args:
        fake: features of samples [N, d].
        train: features of training images [T, d].

    Returns:
        The percentage of authentic samples, 0 to 100.
    """
    return Nearness.of(fake, train).authentic


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


def nearest_in_pixels(samples: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest training image of each sample by the Euclidean distance of pixels, which needs no features.

    Args:
        samples: [R, C, H, W], uint8 or float in [0, 1].
        train: uint8 [T, C, H, W]; read a part at a time.

    Returns:
        Distances, float32 [R], of images in [0, 1], and indices, int64 [R], both on the CPU.
    """
    queries = to_float(samples).float().flatten(1).cpu()
    found: list[tuple[Tensor, Tensor]] = []
    part = max(1, PIXELS // queries.shape[1])
    for start in range(0, len(train), part):
        images = to_float(train[start : start + part]).flatten(1).cpu()
        distance, index = torch.cdist(queries, images).min(dim=1)
        found.append((distance, index + start))
    distances, indices = (torch.stack(parts) for parts in zip(*found, strict=True))  # [parts, R]
    best = distances.argmin(dim=0, keepdim=True)
    return distances.gather(0, best)[0], indices.gather(0, best)[0]


def neighbour_picture(fake: Tensor, fake_features: Tensor, train: Tensor, train_features: Tensor) -> Grid:
    """Samples, each followed by its three nearest training images with their distances, two samples in a row.

    Args:
        fake: samples [R, C, H, W], uint8 or float in [0, 1].
        fake_features: their features [R, d].
        train: training images uint8 [T, C, H, W].
        train_features: their features [T, d].

    Returns:
        A grid of uint8 images; fewer than four per sample if there are fewer than three training images.
    """
    k = min(len(NEAREST), len(train))
    distance, index = nearest(fake_features, train_features, k)
    found = train[index.to(train.device)].to(fake.device)  # [R, k, C, H, W]
    captions = [word for row in distance.tolist() for word in ("", *(f"{value:.3g}" for value in row))]
    return Grid(
        torch.cat([to_uint8(fake)[:, None], found], dim=1).flatten(0, 1),
        2 * (k + 1),
        "Samples, their nearest training images, and the distances between their features",
        2 * ["sample", *NEAREST[:k]],
        captions=captions,
        column_breaks=[k + 1],
    )
