"""Which images are scored as normal and as anomalies."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from lightning_gen.config.build import build_data
from lightning_gen.config.compose import compose
from lightning_gen.config.schema import check
from lightning_gen.data.imageset import ImageSet, class_number
from lightning_gen.data.loader import Batch, in_order, permutation
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.sources.table import as_images, read_columns
from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import UserError
from lightning_gen.evaluation.anomalies import BATCH
from lightning_gen.randomness import Stream, mix

KEPT = ("crop", "size", "channels", "random_crop", "dequantize", "binarize")  # how a model sees its images


class Part(NamedTuple):
    """Images of one kind: their number in their test set, and the name of that set."""

    images: ImageSet
    numbers: Tensor
    name: str


def kinds_of_images(
    config: DictConfig, data: ImageDataModule, other: str | None, overrides: list[str], most: int | None
) -> list[Part]:
    """The normal test images and, if it is known which they are, the anomalies: at most `most` of each, at random.

    Args:
        config: of the run, and `data` what is built from it.
        other: a data set with `overrides`, whose test images or all of whose rows are the anomalies; None: they are
            the test images of the classes that `dataset.classes` left out, if it did.

    Raises:
        UserError: a data set that does not exist or does not fit to the run.
    """
    found = [(data.test, data.dataset)]
    if other is not None and data.table is not None:
        found.append(other_rows(data.table, other, overrides))
    elif other is not None:
        anomalies = other_data(config, data, other, overrides)
        found.append((anomalies.test, anomalies.dataset))
    elif overrides:
        raise UserError(f"{overrides[0]}: overrides are of another data set, so name one with --data.")
    elif config.dataset.classes is not None:
        found.append((left_out(config), data.dataset))
    parts = []
    for images, name in found:
        numbers = torch.arange(len(images))
        if most is not None:
            numbers = permutation(mix(data.seed, Stream.HELD_OUT), 0, len(images))[:most].sort().values
        parts.append(Part(images.subset(numbers), numbers, name))
    return parts


def other_data(config: DictConfig, data: ImageDataModule, name: str, overrides: list[str]) -> ImageDataModule:
    """Another data set, its images changed as those of the run are.

    Raises:
        UserError: the data set does not exist, or its images have another shape.
    """
    composed = compose([f"dataset={name}", *overrides])
    _, height, _ = data.image_shape
    kept = {key: config.dataset[key] for key in KEPT}
    kept |= {"size": kept["size"] or height, "channels": data.image_shape[0]}
    for key, value in kept.items():
        if not any(override.startswith(f"dataset.{key}=") for override in overrides):
            composed.dataset[key] = value
    check(composed)
    other: ImageDataModule = build_data(composed)
    if other.image_shape != data.image_shape:
        sizes = ("x".join(map(str, one.image_shape)) for one in (data, other))
        raise UserError(
            f"--data {name}: the run has images of {' and this data set of '.join(sizes)}: set dataset.size."
        )
    return other


def other_rows(schema: TableSchema, name: str, overrides: list[str]) -> tuple[ImageSet, str]:
    """All rows of a file, in its order and encoded as those of the run, and the name of the file.

    They are not read as a data set, with a training split and columns of its own: one row is enough.

    Raises:
        UserError: it is not a table, or its columns are not those of the run.
    """
    if name != "table":
        return vectors(schema, name, overrides)
    for override in overrides:
        if not override.startswith(("dataset.path=", "dataset.drop=")):
            raise UserError(f"{override}: --data table takes all rows of a file: set only dataset.path and drop.")
    dataset = compose(["dataset=table", *overrides]).dataset
    columns, _ = read_columns(dataset.path, dataset.drop or ())
    return ImageSet(as_images(schema, columns), table=schema), Path(dataset.path).name


def vectors(schema: TableSchema, name: str, overrides: list[str]) -> tuple[ImageSet, str]:
    """All vectors of another data set, encoded as those of the run, and its name.

    Raises:
        UserError: it has no vectors, or vectors of another length.
    """
    composed = compose([f"dataset={name}", *overrides])
    check(composed)
    other = build_data(composed)
    if other.table is None:
        raise UserError("--data: the run has rows of a table: use --data table dataset.path=FILE.csv.")
    rows = torch.cat([part.images.flatten(1) for part in (other.train, other.test)])
    return ImageSet(as_images(schema, other.table.decode(rows)), table=schema), other.dataset


def left_out(config: DictConfig) -> ImageSet:
    """The test images of the classes that the run did not get."""
    dataset = config.dataset.copy()
    OmegaConf.update(dataset, "classes", None)
    OmegaConf.update(dataset, "labels", True)
    every: ImageSet = build_data(OmegaConf.create({"dataset": dataset, "seed": config.seed})).test
    known = {class_number(one, every) for one in config.dataset.classes}
    others: list[str | int] = [name for number, name in enumerate(every.classes) if number not in known]
    if not others:
        raise UserError("dataset.classes of this run names all classes, so none is an anomaly: use --data.")
    return every.only_classes(others)


def batches(parts: list[Part], data: ImageDataModule, device: torch.device) -> Iterator[Batch]:
    """The images of all parts, as the run sees them in evaluation."""
    for part in parts:
        yield from in_order(replace(part.images, labels=None), BATCH, device, data.test_transform, data.seed)


def every_image(parts: list[Part]) -> Iterator[tuple[Part, int, str, bool | None]]:
    """Of each image: its part, its number in the test set, the name of its class, and whether it is an anomaly."""
    for index, part in enumerate(parts):
        labels = [""] * len(part.images)
        if part.images.labels is not None:
            names = part.images.classes
            labels = [names[label] if label < len(names) else str(label) for label in part.images.labels.tolist()]
        for number, label in zip(part.numbers.tolist(), labels, strict=True):
            yield part, number, label, bool(index) if len(parts) > 1 else None
