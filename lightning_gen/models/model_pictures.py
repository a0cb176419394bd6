"""The pictures that every model can show: samples, reconstructions and interpolations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_gen.networks.shapes import POINTS
from lightning_gen.pictures import Grid, Picture, Points

if TYPE_CHECKING:
    from lightning_gen.models.base import GenerativeModel

MOST_COLUMNS = 20  # the most classes that a picture of samples shows, one per column
ROWS, COLUMNS = 8, 8
PAIRS = 32  # images with their reconstructions
MOST_POINTS = 2000


def general_pictures(model: GenerativeModel, images: Tensor, labels: Tensor | None) -> dict[str, Picture]:
    """`samples` and `interpolations` and, for 16 images or more and a model that encodes, `reconstructions`.

    No pictures of rows of a table.
    """
    if model.table is not None:  # the evaluation shows its columns
        return {}
    encodes = model.can_encode and len(images) >= 2 * ROWS
    if tuple(model.image_shape) == POINTS:
        return _of_points(model, images, labels)
    result: dict[str, Picture] = {"samples": samples(model)}
    if encodes:
        result["reconstructions"] = reconstructions(model, images[:PAIRS], None if labels is None else labels[:PAIRS])
    return result | {"interpolations": interpolations(model, *((images, labels) if encodes else (None, None)))}


def samples(model: GenerativeModel) -> Grid:
    """Samples from the same latents at every step; of a conditional model, a column for each class."""
    of = ", from a density fitted to the codes of training images" if model.density is not None else ""
    if not model.num_classes:
        return Grid(model.sample(ROWS * COLUMNS, model.fixed_generator()), COLUMNS, f"{ROWS * COLUMNS} samples{of}")
    columns = min(model.num_classes, MOST_COLUMNS)
    asked = torch.arange(columns, device=model.device).repeat(ROWS)
    first = f"the first {columns} of {model.num_classes} classes" if columns < model.num_classes else "a class"
    title = f"Samples{of}: each column shows {first if columns == model.num_classes else f'one of {first}'}"
    images = model.sample(len(asked), model.fixed_generator(), asked)
    return Grid(images, columns, title, [model.class_name(index) for index in range(columns)])


def reconstructions(model: GenerativeModel, images: Tensor, labels: Tensor | None) -> Grid:
    """Images, and in the row below them their reconstructions."""
    rows = torch.stack([images, model.reconstruct(images, labels)]).float()  # [2, N, C, H, W]
    parts = rows.split(COLUMNS, dim=1)
    title = f"{len(images)} test images and their reconstructions"
    names = ["original", "reconstruction"] * len(parts)
    return Grid(
        torch.cat([part.flatten(0, 1) for part in parts]),
        COLUMNS,
        title,
        row_names=names,
        row_breaks=range(2, len(names), 2),
    )


def interpolations(model: GenerativeModel, images: Tensor | None, labels: Tensor | None) -> Grid:
    """In each row the path between the codes of two images or, without images, between two latents."""
    path = "on the sphere" if model.on_sphere else "on the straight line"
    names = ["start", *(f"{step}/{COLUMNS - 1}" for step in range(1, COLUMNS - 1)), "end"]
    if images is None:
        start, end = model.sample_latents(2 * ROWS, model.fixed_generator()).chunk(2)
        shown = model.interpolate(start, end, COLUMNS).flatten(0, 1)
        return Grid(shown, COLUMNS, f"Interpolations {path} between two random latents in each row", names)
    start, end = _codes(model, images, labels)
    ends = images[: 2 * ROWS].float().unsqueeze(1).chunk(2)
    shown = torch.cat([ends[0], model.interpolate(start, end, COLUMNS), ends[1]], dim=1).flatten(0, 1)
    return Grid(
        shown,
        COLUMNS + 2,
        f"Interpolations {path} between the codes of two test images in each row",
        ["original", *names, "original"],
        column_breaks=(1, COLUMNS + 1),
    )


def _codes(model: GenerativeModel, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """The latents of the first images, and of as many that follow."""
    own = None if labels is None else labels[: 2 * ROWS]
    start, end = model.labelled(model.encode(images[: 2 * ROWS], own), own).chunk(2)
    return start, end


def _of_points(model: GenerativeModel, images: Tensor, labels: Tensor | None) -> dict[str, Picture]:
    """The same for points in the plane, beside the real points."""
    real = images.flatten(1)
    generated = model.sample(MOST_POINTS, model.fixed_generator()).flatten(1)
    title = f"{MOST_POINTS:,} generated points, and real ones"
    result: dict[str, Picture] = {"samples": Points({"generated points": generated}, title, real)}
    if model.can_encode and len(images) >= 2 * ROWS:
        made = model.reconstruct(images, labels).flatten(1)
        result["reconstructions"] = Points({"reconstructions": made}, "Reconstructions of test points", real)
        start, end = _codes(model, images, labels)
    else:
        start, end = model.sample_latents(2 * ROWS, model.fixed_generator()).chunk(2)
    paths = model.interpolate(start, end, 50).flatten(0, 1).flatten(1)
    title = f"Interpolations between {ROWS} pairs of codes"
    return result | {"interpolations": Points({"decoded on the way": paths}, title, real)}
