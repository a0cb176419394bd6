"""lightning-gen sample: images, or rows of a table, drawn from a trained model."""

import csv
import io
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from lightning_gen.data.placement import free_host_memory
from lightning_gen.data.sources.table import import_pandas
from lightning_gen.data.tables import TableSchema
from lightning_gen.data.words import IMAGES
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.fitted_priors import attach_prior
from lightning_gen.evaluation.headings import heading
from lightning_gen.files import shortest, write_atomically
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import draw_in_parts
from lightning_gen.networks.shapes import POINTS, ImageShape
from lightning_gen.pictures import Grid, save_picture, to_picture
from lightning_gen.progress import progress
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run

SMALLEST_FILE = 4096  # bytes that a file takes on a disk
OF_TABLES = ("csv", "parquet")  # formats of rows of a table
OF_FILES = {"png": "grid", "npz": "npz", "csv": "csv", "parquet": "parquet"}  # formats in one file, by its ending
PICTURES = ("jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "npy")  # endings of files that are not written


@dataclass(frozen=True)
class Draw:
    """Which samples to draw: seed, fitted prior, class of a conditional model, truncation for a GAN."""

    seed: int = 0
    prior: str | None = None
    label: int | None = None
    truncation: float | None = None


def sample_run(run_dir: Path, checkpoint: str, count: int, out: Path, format: str | None, draw: Draw) -> str:
    """Draw `count` images or rows from the model of a run and write them to `out`; returns a line that says where.

    `out`: a folder, or a file whose ending says what it holds: a grid as .png, an array as .npz, rows as .csv or
    .parquet. `format`: None: as the ending says, or a grid of images, or CSV of rows.

    Raises:
        UserError: an unknown class, a truncation for a model that is not a GAN, a format of tables for images or the
            reverse, or too many images for the memory or the disk.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    model = load_model(run, checkpoint)
    format = chosen_format(format, out, model.table)
    if draw.prior is not None:
        attach_prior(run, model, draw.prior, checkpoint)
    check_room(model.image_shape, count, out, format, model.unit)
    parts = draw_in_parts(model, count, draw.seed, draw.label, draw.truncation)
    with progress(count, "sampling", model.unit) as advance:
        try:
            if model.table is not None:
                return _write_rows(_counted(parts, advance), model.table, out, format)
            if format == "grid" or (format == "png" and model.image_shape == POINTS):
                return _write_grid(_counted(parts, advance), run, model, out, draw)
            return _write_images(_counted(parts, advance), count, out, format)
        except OSError as error:
            raise UserError(f"Cannot write to {out} ({error.strerror}): choose another place with -o.") from error


def chosen_format(format: str | None, out: Path, table: TableSchema | None) -> str:
    """The format to write in: as asked, as the ending of `out` says, or the default.

    Raises:
        UserError: csv or parquet for images, another format for rows of a table, or one that `out` is no file of.
    """
    of_out = None if out.is_dir() else OF_FILES.get(_ending(out))
    found = format or of_out or ("grid" if table is None else "csv")
    named = f"--format {format}" if format and of_out in (None, found) else f"-o {out}"
    if table is None and (of_out in OF_TABLES or found in OF_TABLES):
        raise UserError(f"{named}: CSV and parquet are for rows of a table, and this run has images: name a folder.")
    if table is not None and (found not in OF_TABLES or of_out not in (None, found)):
        raise UserError(f"{named}: this run has rows of a table: use -o FILE.csv or FILE.parquet.")
    if of_out not in (None, found):
        one = "png writes a file for each image" if found == "png" else f"{found} does not go into this file"
        raise UserError(f"-o {out}: --format {one}: name a folder.")
    if of_out is None and _ending(out) in PICTURES and not out.is_dir():
        raise UserError(f"-o {out}: a grid of samples is a .png file, and an array an .npz file: use one of these.")
    return found


def _ending(out: Path) -> str:
    return out.suffix.removeprefix(".").lower()


def file_in(out: Path, name: str) -> Path:
    """The file to write: `out` itself if it has the ending of `name` and is no folder, else `name` in that folder."""
    return out if _ending(out) == _ending(Path(name)) and not out.is_dir() else out / name


def check_room(shape: ImageShape, count: int, out: Path, format: str, unit: str = IMAGES) -> None:
    """Raise a UserError if so many images, points or rows do not fit into the memory, or as files onto the disk."""
    values = count * math.prod(shape)
    if format in OF_TABLES:
        # as float32, as numbers in float64, and what a file is written from
        needed, free, room = 24 * values, free_host_memory(), "of memory are free: draw fewer"
    elif format == "png" and shape != POINTS:
        needed, free, room = max(values, count * SMALLEST_FILE), free_disk(out), f"of {out} are free: draw fewer"
    elif format == "npz":
        needed, free, room = values * 4, free_host_memory(), "of memory are free: use --format png, or draw fewer"
    else:
        room = "of memory are free: use --format png or npz, or draw fewer"
        needed, free = 12 * values, free_host_memory()
    if needed > free:
        raise UserError(f"{count:,} {unit} take about {needed / 1e9:,.1f} GB, and {free / 1e9:.1f} GB {room} (-n).")


def free_disk(folder: Path) -> int:
    """Free bytes of the disk that a folder, which may not exist yet, will be on."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _counted(parts: Iterator[torch.Tensor], advance: Callable[[int], None]) -> Iterator[torch.Tensor]:
    for part in parts:
        yield part
        advance(len(part))


def _write_grid(parts: Iterator[torch.Tensor], run: Run, model: GenerativeModel, out: Path, draw: Draw) -> str:
    images, path = torch.cat(list(parts)), file_in(out, "grid.png")
    count = len(images)
    label = "" if draw.label is None else f" of class {draw.label}"
    details = [f"seed {draw.seed}"]
    if draw.prior is not None:
        details.append(f"codes from the fitted prior {draw.prior}")
    if draw.truncation is not None:
        details.append(f"truncation {draw.truncation:g}")
    title = f"{count:,} sample{'s' if count > 1 else ''}{label}, {', '.join(details)}"
    picture = Grid(images, max(round(count**0.5), 1), title)
    save_picture(picture.draw(heading(model, run.config.dataset.name, model.step_loaded)), path)
    return f"{count} samples in {shortest(path)}"


def _write_images(parts: Iterator[torch.Tensor], count: int, out: Path, format: str) -> str:
    first = next(parts)
    parts, points = chain([first], parts), first.shape[1:] == POINTS
    if format == "npz":
        path = file_in(out, "samples.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        array = torch.cat([part if points else part.mul(255).round().to(torch.uint8) for part in parts]).numpy()
        np.savez_compressed(path, images=array)
        return f"{count} samples, {array.dtype} {list(array.shape)} in `images` of {shortest(path)}"
    for index, image in enumerate(image for part in parts for image in part):
        save_picture(to_picture(image), out / f"{index:06d}.png")
    return f"{count} samples in {shortest(out)}"


def _write_rows(parts: Iterator[torch.Tensor], table: TableSchema, out: Path, format: str) -> str:
    """The rows in the units of the data, with a header; numbers in CSV have the digits of float32."""
    columns = table.decode(torch.cat([part.flatten(1) for part in parts]))
    path = file_in(out, f"samples.{format}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if format == "parquet":
        import_pandas(parquet=True).DataFrame(columns).to_parquet(path, index=False)
    else:
        shown = [np.float32(values) if values.dtype.kind == "f" else values for values in columns.values()]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*shown, strict=True))
        write_atomically(path, file.getvalue())
    return f"{len(next(iter(columns.values())))} rows of {len(columns)} columns in {shortest(path)}"
