"""A tree of image files in a folder, zip or tar file, with or without class folders."""

import json
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_gen.data.decode import Entry
from lightning_gen.data.decoded import splits_of
from lightning_gen.data.hold_out import hold_out_rows
from lightning_gen.data.image_files import SUFFIXES, list_images
from lightning_gen.data.imageset import Decoding, Splits
from lightning_gen.errors import UserError
from lightning_gen.ranges import Fraction

TRAIN_FOLDERS = ("train", "training")
LABEL_FILE = "dataset.json"
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")


def image_folder(decoding: Decoding, root: str | None, test_fraction: Fraction = 0.1) -> Splits:
    """The images in `root`, a folder or a zip or tar file, decoded once and mapped into memory.

    If the top level has folders `train` and `test` (or `val`), they are the splits. Otherwise `test_fraction` of the
    images, or of those in `train`, is held out, the same in every run. If every image of a split is in a folder, the
    top folders are the classes, unless a dataset.json says what the labels are, as StyleGAN's data sets have it.

    Raises:
        UserError: the path does not exist or has no images, or images cannot be used.
    """
    if root is None:
        raise UserError("dataset=image_folder needs the folder, zip or tar with the images: dataset.root=DIR.")
    path = Path(root).expanduser()
    entries = sorted(list_images(path, decoding), key=lambda entry: entry.name)
    if not entries:
        raise UserError(f"dataset.root={root} holds no image: no file in it ends in {', '.join(SUFFIXES[:4])}, ...")
    chosen = arrange(entries, test_fraction)
    listed = listed_labels(path)
    if listed is not None:
        chosen = relabelled(chosen, listed, root)
    return splits_of(chosen.entries, chosen.train_count, decoding, str(root), chosen.labels, chosen.classes)


# -- splits and classes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arranged:
    """Entries, the training images first."""

    entries: list[Entry]
    train_count: int
    labels: Tensor | None
    classes: tuple[str, ...]


def arrange(entries: list[Entry], test_fraction: float) -> Arranged:
    """Split the entries by their names or at random, and find the class of each."""
    tops = {name.partition("/")[0].lower() for name, *_ in entries if "/" in name}
    train_top = next((top for top in TRAIN_FOLDERS if top in tops), None)
    test_top = next((top for top in TEST_FOLDERS if top in tops), None)
    if train_top:
        train = [e for e in entries if e.name.partition("/")[0].lower() == train_top]
        test = [e for e in entries if e.name.partition("/")[0].lower() == test_top]
        left_out = len(entries) - len(train) - len(test)
        if left_out:
            held_out = f"{test_top}/ is the test split" if test_top else "the test split is held out of it"
            print(
                f"warning: dataset.root: {train_top}/ is the training split and {held_out}; the {left_out} images of "
                "other folders are not used.",
                file=sys.stderr,
            )
        if not test_top:
            train, test = _hold_out(train, test_fraction)
        inner = [entry.name.partition("/")[2] for entry in train + test]
    else:
        train, test = _hold_out(entries, test_fraction)
        inner = [entry.name for entry in train + test]
    labels, classes = None, tuple(sorted({name.partition("/")[0] for name in inner}))
    if all("/" in name for name in inner):
        number = {name: i for i, name in enumerate(classes)}
        labels = torch.tensor([number[name.partition("/")[0]] for name in inner])
    shown = tuple(name.encode(errors="surrogateescape").decode(errors="replace") for name in classes)
    return Arranged(train + test, len(train), labels, shown if labels is not None else ())


def listed_labels(path: Path) -> dict[str, int] | None:
    """The labels of a dataset.json, by the images' paths; {} if it says that there are none, None without one."""
    try:
        if path.is_dir():
            text = (path / LABEL_FILE).read_text(encoding="utf-8") if (path / LABEL_FILE).is_file() else None
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                text = archive.read(LABEL_FILE).decode() if LABEL_FILE in archive.namelist() else None
        else:
            text = None
        if text is None:
            return None
        return {str(name): int(label) for name, label in json.loads(text).get("labels") or []}
    except Exception as error:  # of the file, the archive, the JSON or its content
        raise UserError(f"{path / LABEL_FILE} is not a list of labels ({error}): repair it, or remove it.") from error


def relabelled(arranged: Arranged, listed: dict[str, int], root: str) -> Arranged:
    """The same images with these labels, or without labels if there are none.

    Raises:
        UserError: some images have no label.
    """
    if not listed:
        return replace(arranged, labels=None, classes=())
    missing = [entry.name for entry in arranged.entries if entry.name not in listed]
    if missing:
        raise UserError(
            f"{root}: {LABEL_FILE} has no label for {missing[0]} and {len(missing) - 1} other images: complete "
            f"it, or remove it."
        )
    labels = torch.tensor([listed[entry.name] for entry in arranged.entries])
    return replace(arranged, labels=labels, classes=tuple(str(i) for i in range(int(labels.max()) + 1)))


def _hold_out(entries: list[Entry], fraction: float) -> tuple[list[Entry], list[Entry]]:
    train, test = hold_out_rows(len(entries), fraction)
    return [entries[row] for row in train], [entries[row] for row in test]
