"""Points in the plane: the classic test of whether a GAN drops modes."""

import math

import torch
from torch import Tensor

from lightning_gen.data.imageset import Decoding, ImageSet, Modes, Splits
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.randomness import Stream, mix

KINDS = ("ring", "grid", "swiss_roll", "two_moons")
EXTENT = {"ring": 1.5, "grid": 5.0, "swiss_roll": 15.0, "two_moons": 2.0}  # the plane shown: [-extent, extent]^2
RING_STD, GRID_STD, MOON_STD, ROLL_STD = 0.01, 0.05, 0.05, 0.5


def gaussians(decoding: Decoding, kind: str = "ring", num_points: int = 100_000, num_test: int = 10_000) -> Splits:
    """Points of a distribution in the plane, as images of one row and two pixels, x and y, float in [0, 1].

    The square [-extent, extent]^2 is mapped to [0, 1]^2; the extent is 1.5 for the ring, 5 for the grid, 15 for the
    swiss roll, 2 for the two moons. The points are the same for every seed of a run.

    Raises:
        UserError: an unknown kind, or fewer than two points.
    """
    if kind not in KINDS:
        raise UserError(
            f"dataset.kind={kind} does not exist: use one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
        )
    if min(num_points, num_test) < 2:
        raise UserError(f"dataset.num_points={num_points}, dataset.num_test={num_test}: use 2 or more points.")
    return Splits(*(draw(kind, count, mix(Stream.POINTS, i)) for i, count in enumerate((num_points, num_test))))


def draw(kind: str, count: int, seed: int) -> ImageSet:
    """`count` points of a kind; labels are the numbers of their modes, if the distribution has modes."""
    generator = torch.Generator().manual_seed(seed)
    points, labels, modes = {"ring": _ring, "grid": _grid, "swiss_roll": _swiss_roll, "two_moons": _two_moons}[kind](
        count, generator
    )
    images = to_unit(points, kind).clamp(0, 1).view(count, 1, 1, 2)
    classes = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
    if modes is not None:
        modes = Modes(to_unit(modes.centres, kind), modes.std / (2 * EXTENT[kind]))
        classes = tuple(str(i) for i in range(len(modes.centres)))
    return ImageSet(images, labels, classes, modes)


def to_unit(points: Tensor, kind: str) -> Tensor:
    """Map points from the units of the distribution to [0, 1]."""
    return points / (2 * EXTENT[kind]) + 0.5


Drawn = tuple[Tensor, Tensor | None, Modes | None]


def _mixture(centres: Tensor, std: float, count: int, generator: torch.Generator) -> Drawn:
    labels = torch.randint(len(centres), (count,), generator=generator)
    return centres[labels] + std * torch.randn(count, 2, generator=generator), labels, Modes(centres, std)


def _ring(count: int, generator: torch.Generator) -> Drawn:
    """Eight modes on the unit circle with standard deviation 0.01 (Lin et al. 2018, sec. 4.1)."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    return _mixture(torch.stack([angle.cos(), angle.sin()], dim=1), RING_STD, count, generator)


def _grid(count: int, generator: torch.Generator) -> Drawn:
    """Twenty-five modes at (-4, -2, 0, 2, 4)^2 with standard deviation 0.05 (Lin et al. 2018, sec. 4.1)."""
    side = torch.arange(-4.0, 5.0, 2.0)
    return _mixture(torch.cartesian_prod(side, side), GRID_STD, count, generator)


def _swiss_roll(count: int, generator: torch.Generator) -> Drawn:
    """t (cos t, sin t) with t uniform in [1.5 pi, 4.5 pi], as in scikit-learn, plus noise."""
    t = 1.5 * math.pi * (1 + 2 * torch.rand(count, generator=generator))
    points = torch.stack([t * t.cos(), t * t.sin()], dim=1)
    return points + ROLL_STD * torch.randn(count, 2, generator=generator), None, None


def _two_moons(count: int, generator: torch.Generator) -> Drawn:
    """Two interleaving half circles as in scikit-learn, centred, plus noise."""
    labels = torch.randint(2, (count,), generator=generator)
    t = math.pi * torch.rand(count, generator=generator)
    upper = torch.stack([t.cos() - 0.5, t.sin() - 0.25], dim=1)
    points = torch.where(labels[:, None] == 0, upper, -upper)
    return points + MOON_STD * torch.randn(count, 2, generator=generator), labels, None
