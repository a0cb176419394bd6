"""Precision, recall, density and coverage from k-nearest-neighbour balls."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gen.metrics.neighbours import radii, squared_distance_blocks


def precision_recall_density_coverage(
    fake: Tensor, real: Tensor, k: int = 5, real_radii: Tensor | None = None
) -> dict[str, float]:
    """Fidelity and diversity, by balls around each image that reach to its k-th nearest neighbour.

    precision: the fraction of samples inside some real image's ball; recall: the fraction of real images inside some
    sample's ball (Kynkaanniemi et al. 2019). density: the mean number of real images' balls that a sample is in,
    divided by k; coverage: the fraction of real images' balls that contain a sample (Naeem et al. 2020).

    Args:
        fake: features of samples [N, d].
        real: features of real images [M, d].
        k: the neighbour that sets the radius of a ball; the results depend on k, N and M.
        real_radii: the radii of the real images' balls [M] if they are known, ``radii(real, k)``.

    Returns:
        ``precision``, ``recall``, ``density``, ``coverage``: all in [0, 1] except density, which can exceed 1.

    Raises:
        ValueError: k or fewer images on one side.
    """
    fake_radii = radii(fake, k).square()
    real_radii = (radii(real, k) if real_radii is None else real_radii.to(fake_radii.device)).square()
    balls_around = torch.zeros(len(fake), dtype=torch.long, device=real_radii.device)
    recalled = torch.zeros_like(balls_around[0])
    covered = torch.zeros_like(balls_around[0])
    for rows, squares in squared_distance_blocks(real, fake):
        radius = real_radii[rows]
        balls_around += (squares < radius[:, None]).sum(0)
        recalled += (squares < fake_radii).any(1).sum()
        covered += (squares.min(1).values < radius).sum()
    return {
        "precision": float((balls_around > 0).double().mean()),
        "recall": float(recalled) / len(real),
        "density": float(balls_around.double().mean()) / k,
        "coverage": float(covered) / len(real),
    }
