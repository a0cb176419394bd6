"""A tree of image files in a folder, zip or tar file, with or without class folders."""

import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

import torch
from torch import Tensor

from lightning_gen.data.decode import Entry
from lightning_gen.data.decoded import cache_lock, splits_of
from lightning_gen.data.imageset import Decoding, Splits
from lightning_gen.errors import UserError
from lightning_gen.randomness import Stream, mix
from lightning_gen.ranges import Fraction

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
TRAIN_FOLDERS = ("train", "training")
LABEL_FILE = "dataset.json"
ALWAYS_UNPACKED = 10**9  # bytes to which any archive may unpack;
MOST_UNPACKED = 100  # above that, how many times its size
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


# -- which images there are ----------------------------------------------------------------------------------


def list_images(path: Path, decoding: Decoding) -> list[Entry]:
    """The image files in a folder, zip or tar file, named by their paths inside it."""
    if path.is_dir():
        return list(_walk(path, path, set()))
    if not path.exists():
        raise UserError(f"dataset.root={path} does not exist (looked in {path.resolve()}).")
    if not path.is_file():  # a pipe or a device
        raise UserError(f"dataset.root={path} is neither a folder nor a file.")
    listing: Callable[[Path], list[Entry]] = _zip_entries
    if not zipfile.is_zipfile(path):
        if not tarfile.is_tarfile(path):
            raise UserError(f"dataset.root={path} is neither a folder nor a zip or tar file that can be read.")
        path, listing = _plain_tar(path, decoding), _tar_entries
    try:
        return _without_top(listing(path))
    except UserError:
        raise
    except Exception as error:  # damaged archives raise many kinds of errors
        raise UserError(f"dataset.root={path} cannot be read to its end ({error}).") from error


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image and is not hidden, like the `._x.jpg` that macOS adds to archives."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return name.lower().endswith(SUFFIXES) and not hidden


def _walk(folder: Path, root: Path, seen: set[str]) -> list[Entry]:
    real = os.path.realpath(folder)
    if real in seen:  # a link to a folder above
        return []
    seen.add(real)
    found, below = [], []
    for item in os.scandir(folder):
        try:
            is_folder = item.is_dir()
        except OSError:  # a link to itself; if it is named like an image, that is told later
            is_folder = False
        if is_folder:
            below.append(item.path)
        elif is_image(item.name):
            found.append(Entry(Path(item.path).relative_to(root).as_posix(), item.path))
    for inner in sorted(below):
        if not os.path.basename(inner).startswith("."):
            found += _walk(Path(inner), root, seen)
    return found


def _zip_entries(path: Path) -> list[Entry]:
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir() and is_image(info.filename)]
    return [Entry(name, str(path), member=name) for name in names]


def _tar_entries(path: Path) -> list[Entry]:
    with tarfile.open(path, "r:") as archive:
        members = [member for member in archive if member.isfile() and is_image(member.name)]
    return [
        Entry(PurePosixPath(m.name).as_posix().removeprefix("./"), str(path), m.offset_data, m.size) for m in members
    ]


def _plain_tar(path: Path, decoding: Decoding) -> Path:
    """The tar file itself, or an uncompressed copy in the cache, which can be read at any position."""
    try:
        with tarfile.open(path, "r:"):
            return path
    except tarfile.TarError:
        pass
    status = path.stat()
    folder = Path(decoding.cache_dir).expanduser() / "decoded" / "unpacked"
    plain = folder / f"{mix(*path.resolve().as_posix().encode(), status.st_size, status.st_mtime_ns):x}.tar"
    with cache_lock(decoding.cache_dir, plain.name):
        if not plain.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = plain.with_suffix(".part")
            try:
                most = min(shutil.disk_usage(folder).free // 2, max(MOST_UNPACKED * status.st_size, ALWAYS_UNPACKED))
                with _decompressed(path) as source, open(part, "wb") as target:
                    _unpack(source, target, path, most)
                if not _tar_entries(part):
                    raise UserError(f"dataset.root={path} holds no image.")
                os.replace(part, plain)
            except UserError:
                raise
            except Exception as error:  # damaged archives raise many kinds of errors
                raise UserError(f"dataset.root={path} cannot be read to its end ({error}).") from error
            finally:
                part.unlink(missing_ok=True)
    return plain


def _unpack(source: IO[bytes], target: IO[bytes], path: Path, most: int) -> None:
    """Copy all bytes, but at most this many.

    Raises:
        UserError: there are more.
    """
    written = 0
    while block := source.read(1 << 20):
        written += len(block)
        if written > most:
            raise UserError(
                f"dataset.root={path} unpacks to more than {most / 1e9:.1f} GB, a hundred times its size or half of "
                "the free space of dataset.cache_dir: unpack it yourself, and set dataset.root to the folder."
            )
        target.write(block)


def _decompressed(path: Path):  # type: ignore[no-untyped-def]
    import bz2
    import gzip
    import lzma

    with open(path, "rb") as file:
        start = file.read(6)
    opener = gzip.open if start[:2] == b"\x1f\x8b" else bz2.open if start[:3] == b"BZh" else lzma.open
    return opener(path, "rb")


def _without_top(entries: list[Entry]) -> list[Entry]:
    """Strip a single top folder that contains everything, as archives often have: it is not a class."""
    while entries:
        tops = {entry.name.partition("/")[0] if "/" in entry.name else "" for entry in entries}
        if len(tops) > 1 or "" in tops:
            break
        entries = [entry._replace(name=entry.name.partition("/")[2]) for entry in entries]
    return entries


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


def hold_out_rows(total: int, fraction: float) -> tuple[list[int], list[int]]:
    """The rows of the training split and of the test split, each in order; the same in every run.

    Raises:
        UserError: the fraction leaves a split empty.
    """
    if not 0 < fraction < 1:
        raise UserError(f"dataset.test_fraction={fraction}: use a number between 0 and 1, such as 0.1.")
    count = max(round(total * fraction), 1)
    if count >= total:
        raise UserError(
            f"dataset.test_fraction={fraction} leaves nothing to train on, of {total} in all: use more data."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(mix(0, Stream.SPLIT)))
    return order[count:].sort().values.tolist(), order[:count].sort().values.tolist()
