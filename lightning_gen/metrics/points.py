"""Metrics of 2D points: the modes of a mixture that samples cover, and the distance of samples from real points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.protocol import Numbers, numbers
from lightning_gen.pictures import Picture
from lightning_gen.randomness import Stream, mix

ROWS = 2048  # rows of distances at a time: 2048 x 10,000 in float64 are 160 MB
MOST_POINTS = 100_000  # 10^10 distances, a minute or two
GOOD = 3.0  # a good sample has at most this distance from a mode, in standard deviations


def nearest_mode(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The distance [N] of points [N, D] to the nearest of the centres [K, D], and its index, int64 [N]."""
    return torch.cdist(points.double(), centres.double()).min(dim=1)


def mode_metrics(points: Tensor, centres: Tensor, std: float) -> dict[str, float]:
    """How many modes of a mixture of Gaussians samples cover, and the fraction of good samples.

    A sample is good if it is within three standard deviations of the nearest centre (98.9 % of a mixture in two
    dimensions are). A mode is found if it has a good sample. Source: Srivastava et al. 2017 (VEEGAN), sec. 5.1; Lin
    et al. 2018 (PacGAN), sec. 4.1.

    Args:
        points: samples [N, D].
        centres: the centres of the mixture's modes [K, D].
        std: the standard deviation of each mode, in the same units.

    Returns:
        ``modes_found`` and ``modes_lost``, whose sum is K, and ``good_samples``, a fraction from 0 to 1.
    """
    distance, mode = nearest_mode(points, centres)
    good = distance <= GOOD * std
    found = mode[good].unique().numel()
    return {
        "modes_found": float(found),
        "modes_lost": float(len(centres) - found),
        "good_samples": float(good.double().mean()),
    }


def energy_distance(x: Tensor, y: Tensor) -> float:
    """The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| from samples x [N, D] and y [M, D], without bias.

    It is 0 for equal distributions. The means leave out the distance of a point to itself, so the estimate may be
    negative. Source: Szekely & Rizzo 2013, "Energy statistics", eq. 5.

    Raises:
        ValueError: a set has fewer than two points.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"an energy distance needs at least 2 points in each set, got {n} and {m}")
    return 2 * _total(x, y) / (n * m) - _total(x, x) / (n * (n - 1)) - _total(y, y) / (m * (m - 1))


def _total(x: Tensor, y: Tensor) -> float:
    y = y.double()
    exact = "donot_use_mm_for_euclid_dist"  # the fast form is inexact for small distances
    return float(sum(torch.cdist(part.double(), y, compute_mode=exact).sum() for part in x.split(ROWS)))


class PointEvaluator:
    """Compares samples of a model of 2D points with held-out points, in the units of the data, without features.

    Args:
        reference: held-out points, float [N, 1, 1, 2].
        other: training points, for the floor.
        modes: the centres [K, 2] and the standard deviation of a mixture, or None.
        num_samples: the number of samples, and the largest number of real points.
        seed: the seed of the samples and of the random subsets.
        split: the name of the reference's split, for the protocol.

    Raises:
        UserError: more than MOST_POINTS samples.
    """

    distance_name = "eval/energy_distance"

    def __init__(
        self,
        reference: Tensor,
        other: Tensor,
        modes: tuple[Tensor, float] | None = None,
        *,
        num_samples: int,
        seed: int = 0,
        split: str = "test",
    ) -> None:
        if num_samples > MOST_POINTS:
            raise UserError(
                f"evaluation.num_samples={num_samples}: each point is compared with each other: set it to "
                f"{MOST_POINTS} or less."
            )
        self.modes, self.num_samples, self.seed, self.split = modes, num_samples, seed, split
        self.reference, self.other = (
            self._subset(side.flatten(1).cpu(), stream)
            for side, stream in ((reference, Stream.REFERENCE), (other, Stream.FLOOR))
        )
        self.floor = energy_distance(self.other, self.reference)

    def __call__(self, sampler: Callable[[int, torch.Generator], Tensor], **context: Any) -> Numbers:
        """The metrics by name and the protocol of each; every process computes the same numbers."""
        generator = torch.Generator().manual_seed(mix(self.seed, Stream.SAMPLES))
        samples = sampler(self.num_samples, generator).flatten(1).float().cpu()
        values = {"energy_distance": energy_distance(samples, self.reference), "energy_distance_floor": self.floor}
        if self.modes is not None:
            values = mode_metrics(samples, *self.modes) | values
        return numbers(values, **self.protocol(**context))

    def pictures(self) -> dict[str, Picture]:
        """No pictures: the samples themselves show everything."""
        return {}

    def protocol(self, **context: Any) -> dict[str, Any]:
        """How the numbers were measured."""
        return {
            "extractor": "points",
            "images": "samples",
            "n_fake": self.num_samples,
            "n_real": len(self.reference),
            "split": self.split,
            "seed": self.seed,
            **context,
        }

    def _subset(self, points: Tensor, stream: Stream) -> Tensor:
        return points[seeded_subset(len(points), self.num_samples, mix(self.seed, stream))]
