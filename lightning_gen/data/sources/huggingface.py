"""Image data sets of the Hugging Face hub, or on disk in its format. Needs the optional extra `huggingface`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.decode import Entry
from lightning_gen.data.decoded import splits_of
from lightning_gen.data.hold_out import hold_out_rows
from lightning_gen.data.imageset import Decoding, Splits
from lightning_gen.errors import UserError, did_you_mean

TEST_SPLITS = ("test", "validation", "valid", "val")


def huggingface(
    decoding: Decoding,
    path: str | None,
    config: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    test_fraction: float = 0.1,
) -> Splits:
    """The images of a data set, decoded once and mapped into memory.

    The splits are `train` and `test` (or `validation`). If there is no test split, `test_fraction` of the images is
    held out, the same in every run.

    Args:
        decoding: shape of the images, and the cache.
        path: name of the data set on the hub, or its folder.
        config: a configuration, for data sets that have several.
        image_column: column with the images; None: the first of that type.
        label_column: column with the classes; None: the first of that type.
        test_fraction: share of the images to hold out.

    Raises:
        UserError: the extra is not installed; the data set, split or column does not exist; images that cannot be
        used.
    """
    parts = _load(path, config)
    train = parts["train"]
    image = _column(train, image_column, "Image", "image_column")
    if image is None:
        raise UserError(f"dataset.name={path} has no column of images; there are {', '.join(train.column_names)}.")
    label = _column(train, label_column, "ClassLabel", "label_column")
    test_name = next((name for name in TEST_SPLITS if name in parts), None)
    if test_name is None:
        rows, held_out = hold_out_rows(len(train), test_fraction)
        train, test = train.select(rows), train.select(held_out)
    else:
        test = parts[test_name]
    labels, classes = _labels([train, test], label)
    entries: Any = Rows([train, test], image)
    content = "+".join(part._fingerprint for part in (train, test)) + image
    return splits_of(entries, len(train), decoding, str(path), labels, classes, content)


class Rows:
    """The images of several data sets one after the other; slicing reads their bytes into entries."""

    def __init__(self, parts: list[Any], column: str) -> None:
        from datasets import Image

        self.column = column
        self.parts = [part.select_columns([column]).cast_column(column, Image(decode=False)) for part in parts]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, rows: slice) -> list[Entry]:
        return list(self._between(*rows.indices(len(self))[:2]))

    def _between(self, start: int, stop: int) -> Iterator[Entry]:
        first = 0
        for part in self.parts:
            a, b = max(start - first, 0), min(stop - first, len(part))
            for row, cell in enumerate(part[a:b][self.column] if a < b else (), start=first + a):
                name = f"row {row}"
                if cell and cell["bytes"] is None and cell["path"]:
                    yield Entry(name, cell["path"])
                else:
                    yield Entry(name, data=(cell or {}).get("bytes") or b"")
            first += len(part)


def _load(path: str | None, config: str | None) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise UserError("dataset=huggingface needs an extra: pip install 'lightning-gen[huggingface]'.") from error
    if path is None:
        raise UserError("dataset=huggingface needs the name of a data set, or its folder: dataset.name=ylecun/mnist.")
    try:
        saved = Path(path).expanduser()
        is_saved = (saved / "dataset_dict.json").exists() or (saved / "state.json").exists()
        parts = datasets.load_from_disk(str(saved)) if is_saved else datasets.load_dataset(path, config)
    except Exception as error:  # many kinds of errors, from the network to the parser
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"dataset.name={path} cannot be loaded: {reason}") from error
    if isinstance(parts, datasets.Dataset):
        return {"train": parts}
    if "train" not in parts:
        raise UserError(f"dataset.name={path} has no split `train`, only {', '.join(parts)}.")
    return parts


def _column(part: Any, asked: str | None, kind: str, key: str) -> str | None:
    if asked is not None:
        if asked not in part.column_names:
            raise UserError(f"dataset.{key}={asked} does not exist.{did_you_mean(asked, part.column_names)}")
        return asked
    return next((name for name, feature in part.features.items() if type(feature).__name__ == kind), None)


def _labels(parts: list[Any], column: str | None) -> tuple[Tensor | None, tuple[str, ...]]:
    if column is None:
        return None, ()
    labels = torch.cat(
        [torch.as_tensor(part.select_columns([column]).with_format("numpy")[:][column]).long() for part in parts]
    )
    if int(labels.min()) < 0:  # the hub marks secret test labels by negative numbers
        return None, ()
    names = getattr(parts[0].features[column], "names", None) or range(int(labels.max()) + 1)
    return labels, tuple(map(str, names))
