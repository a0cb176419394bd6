"""How well directions agree with the known factors of a data set."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.module import ImageDataModule
from lightning_gen.evaluation.directions import Directions, KnownFactors
from lightning_gen.evaluation.latent_space import LatentSpace, points_of
from lightning_gen.metrics.directions import Matching, matched, nearest_factors, random_directions, rank_agreement
from lightning_gen.randomness import mix

SAMPLES, STEPS, REACH = 50, 7, 2.0  # points that move along each direction, and how far, in standard deviations
RANDOM_SETS = 5  # of as many random directions, for comparison


@dataclass(frozen=True)
class FactorAgreement:
    """How steadily each factor changes along each direction, see `rank_agreement`, and which belong together.

    Attributes:
        factors: the names of the K ordered factors.
        table: [D directions, K].
        matching: a direction for each factor.
        random: the matchings of sets of D random directions.
    """

    factors: tuple[str, ...]
    table: Tensor
    matching: Matching
    random: tuple[Matching, ...]

    @property
    def mean(self) -> tuple[float, float]:
        """The agreement and the gap, means over factors."""
        return float(self.matching.agreements.mean()), float(self.matching.gaps.mean())

    @property
    def mean_of_random(self) -> tuple[float, float]:
        """The same of random directions, means over their sets."""
        sets = self.random
        return (
            float(torch.stack([one.agreements.mean() for one in sets]).mean()),
            float(torch.stack([one.gaps.mean() for one in sets]).mean()),
        )

    def as_record(self) -> dict[str, Any]:
        """All of it as plain containers."""
        pairs = zip(self.factors, *(part for part in self.matching), strict=True)
        return {
            "agreement": {name: self.table[:, k].tolist() for k, name in enumerate(self.factors)},
            "matched": {n: {"direction": d, "agreement": float(a), "gap": float(g)} for n, d, a, g in pairs},
            "mean": dict(zip(("agreement", "gap"), self.mean, strict=True)),
            "random": dict(zip(("agreement", "gap"), self.mean_of_random, strict=True)),
            "protocol": {"samples": SAMPLES, "steps": STEPS, "reach": REACH, "random_sets": RANDOM_SETS},
        }


def factor_agreement(
    space: LatentSpace, data: ImageDataModule, directions: Directions, known: KnownFactors, seed: int = 0
) -> FactorAgreement:
    """Compare directions with the known factors of a data set that has every combination of them.

    Points move along a direction from -2 to +2 standard deviations; the factors of an image are those of the nearest
    of all images of the data set. Random orthonormal directions show what the matching alone gives.

    Args:
        space: where the directions are.
        data: the data set.
        directions: at least as many as there are ordered factors.
        known: its factors.
        seed: of the points and of the random directions.
    """
    points, labels, _ = points_of(space, data, SAMPLES, mix(seed, 1), test=True)
    steps = torch.linspace(-REACH, REACH, STEPS, device=points.device)[:, None]
    given = None if labels is None else labels.repeat_interleave(STEPS)

    def agreement(vectors: Tensor, deviations: Tensor) -> Tensor:
        rows = []
        for vector, deviation in zip(vectors, deviations, strict=True):
            moved = (points[:, None] + steps * deviation * vector).flatten(0, 1)
            read = nearest_factors(space.shown(moved, given), known.images, known.factors[:, known.ordered])
            rows.append(rank_agreement(read.unflatten(0, (-1, STEPS))))
        return torch.stack(rows)

    table = agreement(directions.vectors, directions.deviations)
    generator, random = torch.Generator().manual_seed(mix(seed, 2)), []
    for _ in range(RANDOM_SETS):
        vectors = random_directions(points.shape[1], len(table), generator).to(points)
        random.append(matched(agreement(vectors, (points @ vectors.T).std(dim=0))))
    return FactorAgreement(tuple(known.names[k] for k in known.ordered), table, matched(table), tuple(random))
