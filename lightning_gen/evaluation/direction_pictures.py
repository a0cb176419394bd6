"""Pictures of directions: strips of samples that move along them, and images edited along them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gen.evaluation.directions import Directions
from lightning_gen.evaluation.latent_space import LatentSpace
from lightning_gen.pictures import Grid

SAMPLES, COLUMNS = 2, 7  # of a picture of strips: each row shows one direction, for so many samples
EDITS = 4  # images between the reconstruction and the full edit, that one included
TITLES = {"sefa": "SeFa directions", "ganspace": "GANSpace directions", "pca": "principal components of codes"}
TITLES |= {"axes": "axes of the codes", "classes": "the differences between class means"}


def strips(
    space: LatentSpace, directions: Directions, points: Tensor, labels: Tensor | None, strength: float
) -> Grid:
    """A row for each direction, in which each of the points moves along it from -strength to +strength.

    Args:
        space: where the points are.
        directions: at most about ten can be seen well.
        points: [N, D].
        labels: [N], of a model that needs them.
        strength: in standard deviations.
    """
    values = torch.linspace(-strength, strength, COLUMNS).tolist()
    count = len(directions.names)
    moved = torch.stack([points + directions.step(i, value) for i in range(count) for value in values])
    moved = moved.unflatten(0, (count, COLUMNS)).transpose(1, 2)  # [K, N, COLUMNS, D]
    given = None if labels is None else labels.repeat_interleave(COLUMNS).repeat(count)
    per_row = COLUMNS * len(points)
    return Grid(
        space.shown(moved.flatten(0, 2), given),
        per_row,
        f"{len(points)} samples moved along {TITLES[directions.method]}, in standard deviations",
        [_signed(value) for value in values] * len(points),
        directions.names,
        column_breaks=range(COLUMNS, per_row, COLUMNS),
    )


def edits(
    space: LatentSpace,
    directions: Directions,
    images: Tensor,
    points: Tensor,
    labels: Tensor | None,
    names: Sequence[str],
    strength: float,
    chosen: int | None,
) -> Grid:
    """A row for each image: the original, its reconstruction, and edits of its code.

    With a `chosen` direction they go along it up to `strength` standard deviations; otherwise each direction has a
    column, at this strength.

    Args:
        space: where the points are.
        directions: in this space.
        images: float [N, C, H, W] in [0, 1].
        points: their codes or styles, [N, D].
        labels: [N], of a model that needs them.
        names: of the images.
        strength: in standard deviations; it may be negative.
        chosen: the number of the direction, or None for all.
    """
    if chosen is None:
        moves = [directions.step(index, strength) for index in range(len(directions.names))]
        columns, title = list(directions.names), f"moved by {_signed(strength)} standard deviations"
    else:
        sizes = torch.linspace(0, strength, EDITS + 1)[1:].tolist()
        moves = [directions.step(chosen, size) for size in sizes]
        columns, name = [_signed(size) for size in sizes], directions.names[chosen]
        way = (
            f"towards {name}" if directions.method == "classes" else f"along direction {name} of {directions.method}"
        )
        title = f"moved {way}, in standard deviations"
    moved = torch.stack([points, *(points + move for move in moves)], dim=1)  # [N, M + 1, D]
    given = None if labels is None else labels.repeat_interleave(moved.shape[1])
    shown = space.shown(moved.flatten(0, 1), given).unflatten(0, moved.shape[:2])
    return Grid(
        torch.cat([images.unsqueeze(1).cpu(), shown], dim=1).flatten(0, 1),
        len(columns) + 2,
        f"Images {title}",
        ["original", "reconstruction", *columns],
        names,
        column_breaks=(1, 2),
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}" if abs(value) > 1e-6 else "0"
