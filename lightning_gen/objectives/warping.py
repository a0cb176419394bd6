"""Affine maps of positions and of colours, one for each image, differentiable to any order.

A map of positions is a matrix [B, 3, 3] that acts on (x, y, 1): pixels from the centre of the image, x to the right
and y down. A map of colours is a matrix [B, 4, 4] that acts on (r, g, b, 1).
"""

import torch
from torch import Tensor

GREY = 3**-0.5  # each component of the unit vector along the grey axis


def _matrix(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    """Matrices [B, n, n] from entries that are tensors [B] or numbers."""
    filled = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for row in rows for entry in row]
    return torch.stack(filled, dim=1).unflatten(1, (len(rows), len(rows)))


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Matrices that scale positions by x and y [B]; a negative factor flips."""
    return _matrix([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]], x)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Matrices that move positions by x and y [B] pixels."""
    return _matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], x)


def rotation(cosine: Tensor, sine: Tensor) -> Tensor:
    """Matrices that rotate positions by the angle with this cosine and sine [B], clockwise on the screen."""
    return _matrix([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]], cosine)


def _reflected(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixel at or before each position, and the position's distance from that pixel in [0, 1].

    Positions outside the image are mirrored at its outermost pixels.
    """
    last = size - 1
    inside = last - (position.remainder(max(2 * last, 1)) - last).abs()
    before = inside.floor().clamp(0, max(last - 1, 0))
    return before.long(), inside - before


def warp(images: Tensor, inverse: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """The images [B, C, H, W] moved by the inverse of `inverse` [B, 3, 3], with bilinear interpolation.

    The value at each position is that of `images` at `inverse` times the position; outside, images are mirrored.
    Equal to `F.grid_sample(..., padding_mode="reflection", align_corners=True)`, which has no second derivative.
    `size`: the height and width of the result around the same centre; None: those of `images`.
    """
    height, width = images.shape[2:]
    rows, columns = size or (height, width)
    x, y = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in (columns, rows))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)  # [2, H * W]
    source = inverse[:, :2, :2] @ grid + inverse[:, :2, 2:]  # [B, 2, H * W]
    left, right_part = _reflected(source[:, 0] + (width - 1) / 2, width)
    top, lower_part = _reflected(source[:, 1] + (height - 1) / 2, height)
    flat = images.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).unsqueeze(1).expand(-1, images.shape[1], -1)
        return flat.gather(2, index)

    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    to_right, down = right_part.unsqueeze(1), lower_part.unsqueeze(1)  # [B, 1, H * W]
    upper = at(top, left) * (1 - to_right) + at(top, right) * to_right
    lower = at(bottom, left) * (1 - to_right) + at(bottom, right) * to_right
    return (upper * (1 - down) + lower * down).view(*images.shape[:2], rows, columns)


def colour_scaling(along: Tensor, across: Tensor) -> Tensor:
    """Matrices that scale colours by `along` [B] in the direction of the grey axis and by `across` [B] away from it.

    Equal factors change the contrast, (1, s) the saturation, and (-1, 1) flips the luma.
    """
    grey = (along - across) * GREY**2
    same = grey + across
    rows = [[same if i == j else grey for j in range(3)] + [0.0] for i in range(3)]
    return _matrix([*rows, [0.0, 0.0, 0.0, 1.0]], along)


def colour_translation(amount: Tensor) -> Tensor:
    """Matrices that add `amount` [B] to each channel, which changes the brightness."""
    rows = [[float(i == j) for j in range(3)] + [amount] for i in range(3)]
    return _matrix([*rows, [0.0, 0.0, 0.0, 1.0]], amount)


def hue_rotation(angle: Tensor) -> Tensor:
    """Matrices that rotate colours about the grey axis by `angle` [B]; a third of a turn maps red to green."""
    cosine, sine = angle.cos(), angle.sin()
    base, turn = (1 - cosine) * GREY**2, sine * GREY
    same, less, more = cosine + base, base - turn, base + turn
    rows: list[list[Tensor | float]] = [[same, less, more, 0.0], [more, same, less, 0.0], [less, more, same, 0.0]]
    return _matrix([*rows, [0.0, 0.0, 0.0, 1.0]], angle)


def recolour(images: Tensor, matrix: Tensor) -> Tensor:
    """The images with `matrix` [B, 4, 4] applied to each colour; grey images are treated as colours on the grey axis.

    `images`: [B, 3, H, W] or [B, 1, H, W].
    """
    if images.shape[1] == 1:
        gain = matrix[:, :3, :3].sum(dim=(1, 2)) / 3
        return images * gain[:, None, None, None] + matrix[:, :3, 3].mean(dim=1)[:, None, None, None]
    mixed = matrix[:, :3, :3] @ images.flatten(2) + matrix[:, :3, 3:]
    return mixed.view_as(images)
