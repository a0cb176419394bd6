"""lightning-gen data: what is in a data set, without training."""

import itertools
import time
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from lightning_gen.commands.terminal import console
from lightning_gen.config.build import build_data
from lightning_gen.config.compose import compose
from lightning_gen.config.schema import check
from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.loader import permutation
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.headings import data_name
from lightning_gen.files import shortest
from lightning_gen.networks.shapes import is_vector
from lightning_gen.pictures import Grid, save_picture
from lightning_gen.runs.loading import default_device

SHOWN = 64  # images in the picture; for points 2,000
MOST_NAMED = 6  # categories of a column
MEASURED_SECONDS = 1.0


def describe_data(dataset: str, overrides: list[str], out: Path | None) -> Path | None:
    """Print what is in a data set and write a picture of its training images; returns the path of the picture.

    Of a table, print its columns; there is no picture, and None is returned.

    Raises:
        UserError: an override that does not exist, or a problem with the data.
    """
    quiet_libraries()
    config = compose([f"dataset={dataset}", *overrides])
    check(config)
    data: ImageDataModule = build_data(config)
    if data.table is not None and out is not None:
        raise UserError("--out: the columns of a table are printed, and there is no picture: omit it.")
    device = default_device()
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for name, value in facts(data, device):
        table.add_row(name, value)
    if data.table is not None:
        console().print(table)
        console().print(columns(data.table, data.train))
        return None
    path = out or Path("samples") / f"data_{Path(str(config.dataset.name)).name}.png"
    count = 2000 if data.train.images.is_floating_point() else SHOWN
    picture = examples(data, device, count).draw(f"{data_name(data.dataset)}, as the models see them")
    try:
        save_picture(picture, path)
    except OSError as error:
        raise UserError(f"Cannot write to {path} ({error.strerror}): choose another file with -o.") from error
    table.add_row("as the models see it", shortest(path))
    console().print(table)
    return path


def columns(table: TableSchema, rows: ImageSet) -> Table:
    """A row for each column of a table: what it holds in the training rows."""
    shown = Table(show_edge=False, pad_edge=False)
    for title in ("column", "kind", "training rows"):
        shown.add_column(title)
    values = table.decode(rows.images.flatten(1))
    for column in table.columns:
        its = values[column.name]
        if column.kind == "numeric":
            found = f"{its.min():.4g} to {its.max():.4g}, mean {column.mean:.4g}, standard deviation {column.std:.4g}"
        else:
            shares = [f"{name} {(its == name).mean():.1%}" for name in column.values[:MOST_NAMED]]
            found = f"{len(column.values)}: {', '.join(shares)}{', ...' if len(column.values) > MOST_NAMED else ''}"
        shown.add_row(column.name + (" (target)" if column.name == table.target else ""), column.kind, found)
    return shown


def examples(data: ImageDataModule, device: torch.device, count: int) -> Grid:
    """The first `count` training images, with the names of their classes."""
    batches = list(itertools.islice(data.train_loader(device), -(-count // data.batch_size)))
    images = torch.cat([batch.images for batch in batches])[:count]
    names = data.train.classes
    labels = [int(label) for batch in batches for label in ([] if batch.labels is None else batch.labels)]
    captions = [names[label] if label < len(names) else str(label) for label in labels[:count]]
    return Grid(images, 8, f"{len(images):,} training {data.unit}", captions=captions)


def facts(data: ImageDataModule, device: torch.device) -> list[tuple[str, str]]:
    """The rows of the table."""
    train, test = data.train, data.test
    low, high, mean, std = statistics(train)
    memory = sum(part.nbytes for part in (train, test)) / 1e6
    where = data.place(device)
    return [
        ("dataset", data.dataset),
        (f"training {data.unit}", f"{len(train):,}"),
        (f"held-out {data.unit}", f"{len(test):,}"),
        ("shape", _shape(data)),
        ("classes", classes(train, data.unit)),
        ("values", f"{low:.3g} to {high:.3g}, mean {mean:.4f}, standard deviation {std:.4f}"),
        ("memory", f"{memory:,.1f} MB as {str(train.images.dtype).removeprefix('torch.')}"),
        ("placement", f"{where}, for training on {device.type}"),
        ("loader", f"{images_per_second(data, device):,.0f} {data.unit}/s, in batches of {data.batch_size}"),
    ]


def _shape(data: ImageDataModule) -> str:
    if is_vector(data.image_shape):
        return f"{data.image_shape[2]} numbers" + ("" if data.table is None else ", one-hot categories included")
    return "x".join(map(str, data.image_shape)) + " (channels, height, width)"


def classes(data: ImageSet, unit: str) -> str:
    """The number of classes, their names and, of several, the smallest and the largest."""
    if data.labels is None:
        return "no labels"
    if len(data.classes) == 1:
        return f"1: {data.classes[0]}"
    counts = torch.bincount(data.labels, minlength=len(data.classes))
    few, many = int(counts.argmin()), int(counts.argmax())
    listed = ", ".join(data.classes[:10]) + (", ..." if len(data.classes) > 10 else "")
    return (
        f"{len(data.classes)}: {listed}; from {int(counts[few]):,} ({data.classes[few]}) "
        f"to {int(counts[many]):,} ({data.classes[many]}) {unit}"
    )


def statistics(data: ImageSet, limit: int = 20_000) -> tuple[float, float, float, float]:
    """Smallest and largest value, mean and standard deviation in [0, 1], over a random subset of the images.

    Random, because MNIST alternates between two groups of writers: a regular subset is 6 % off.
    """
    chosen = data.images[permutation(0, 0, len(data))[:limit].sort().values]
    scale = 255 if chosen.dtype == torch.uint8 else 1
    values = [part.double() / scale for part in chosen.split(1000)]
    total = chosen.numel()
    mean = sum(float(part.sum()) for part in values) / total
    variance = sum(float((part - mean).square().sum()) for part in values) / total
    return float(chosen.min()) / scale, float(chosen.max()) / scale, mean, variance**0.5


def images_per_second(data: ImageDataModule, device: torch.device) -> float:
    """The speed of the training loader alone, without a model."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    batches: Any = iter(data.train_loader(device))
    for _ in range(3):
        next(batches)
    wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < MEASURED_SECONDS:
        for batch in itertools.islice(batches, 10):
            count += len(batch.images)
    wait()
    return count / (time.perf_counter() - start)
