"""Decoded images on disk, once: a raw file of uint8 that every later run maps into memory.

`<cache_dir>/decoded/<key>/` holds `images.u8` and `meta.json`. The key is a hash of the files' names and bytes, in
order, and of the decoding options; so a folder that was moved or touched finds its cache again, and a changed
image does not. Names, sizes and times of the files are remembered with that hash (`stamps/`), so that the bytes
are read for it only when one of those has changed. A cache is built under another name and renamed when it is
whole; a lock lets one process build while the others wait.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_gen.data.bad_images import settle
from lightning_gen.data.decode import Entry, Shape, decode_into, hash_entries, look_all
from lightning_gen.data.imageset import Decoding, ImageSet, Splits
from lightning_gen.data.parallel import PART, in_parallel, starts
from lightning_gen.errors import UserError
from lightning_gen.files import locked, write_atomically

VERSION = 1  # of the pixels that decoding makes


@dataclass(frozen=True)
class Decoded:
    """Images uint8 [N, C, H, W] mapped into memory, the entries that they come from, and what was left out."""

    images: Tensor
    kept: list[int]
    bad: list[tuple[str, str]]


def decoded_splits(
    files: Sequence[Path],
    train_count: int,
    decoding: Decoding,
    where: str,
    labels: Tensor | None = None,
    classes: tuple[str, ...] = (),
) -> Splits:
    """Image files, of which the first `train_count` are to train on, with labels int64 [N]."""
    entries = [Entry(path.name, str(path)) for path in files]
    return splits_of(entries, train_count, decoding, where, labels, classes)


def splits_of(
    entries: Sequence[Entry],
    train_count: int,
    decoding: Decoding,
    where: str,
    labels: Tensor | None = None,
    classes: tuple[str, ...] = (),
    content: str | None = None,
) -> Splits:
    """Decode entries, or find them decoded; `content` is a hash of them where one is known.

    Raises:
        UserError: bad images, if they are to be refused; sizes or channels that differ; a full disk.
    """
    found = decoded(entries, decoding, where, content or content_hash(entries, decoding.cache_dir))
    settle(sorted(found.bad), len(entries), where, decoding.on_bad_image)
    if labels is not None:
        labels = labels[found.kept]
    whole = ImageSet(found.images, labels, classes, mapped=True)
    cut = sum(index < train_count for index in found.kept)
    return Splits(whole.part(0, cut), whole.part(cut, len(whole)))


def decoded(entries: Sequence[Entry], decoding: Decoding, where: str, content: str) -> Decoded:
    """The decoded images, built by the first process that asks."""
    options = [VERSION, decoding.size, decoding.channels, decoding.crop]
    key = hashlib.sha256(json.dumps([content, *options]).encode()).hexdigest()[:24]
    folder = _root(decoding) / "decoded" / key
    if not folder.is_dir():
        with cache_lock(decoding.cache_dir, key):
            for left_over in folder.parent.glob(f"{key}.part*"):  # a crash's, since we have the lock
                shutil.rmtree(left_over)
            if not folder.is_dir():
                _build(folder, entries, decoding, where)
    return _read(folder)


def _root(decoding: Decoding) -> Path:
    return Path(decoding.cache_dir).expanduser()


def _read(folder: Path) -> Decoded:
    meta = json.loads((folder / "meta.json").read_text())
    bad_rows = {row for row, _, _ in meta["bad"]}
    kept = [row for row in range(meta["entries"]) if row not in bad_rows]
    shape = (len(kept), *meta["shape"])
    numel = len(kept) * meta["shape"][0] * meta["shape"][1] * meta["shape"][2]
    if (folder / "images.u8").stat().st_size < numel:
        raise UserError(f"The cache {folder} is damaged: delete it, and it is built again.")
    # Not shared: pages are the system's until somebody writes to them, which never reaches the file.
    images = (
        torch.from_file(str(folder / "images.u8"), shared=False, size=numel, dtype=torch.uint8) if numel else None
    )
    empty = torch.empty(0, dtype=torch.uint8)
    return Decoded((empty if images is None else images).view(shape), kept, [(n, why) for _, n, why in meta["bad"]])


# -- building ------------------------------------------------------------------------------------------------


def _build(folder: Path, entries: Sequence[Entry], decoding: Decoding, where: str) -> None:
    shape, bad = common_shape(entries, decoding, where)
    part = folder.with_name(f"{folder.name}.part{os.getpid()}")
    try:
        part.mkdir(parents=True)
        _reserve(part / "images.u8", len(entries) * shape.channels * shape.height * shape.width, decoding)
        path, crop, size = str(part / "images.u8"), decoding.crop, decoding.size
        calls = ((decode_into, (path, a, entries[a : a + PART], shape, crop, size)) for a in starts(entries))
        for found in in_parallel(calls, len(entries), f"decoding {where}"):
            bad += found
        reasons = dict(bad)  # the later one of a row that failed twice
        _close_gaps(part / "images.u8", len(entries), shape, reasons)
        names = [(row, entries[row : row + 1][0].name, reasons[row]) for row in sorted(reasons)]
        meta = {"shape": list(shape), "entries": len(entries), "bad": names}
        write_atomically(part / "meta.json", json.dumps(meta))
        os.rename(part, folder)
    except OSError as error:
        raise UserError(
            f"Decoded images cannot be written to {folder.parent} ({error.strerror}): free some space, or set "
            f"dataset.cache_dir to another folder."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def common_shape(entries: Sequence[Entry], decoding: Decoding, where: str) -> tuple[Shape, list[tuple[int, str]]]:
    """The one shape that all images get, and those that cannot have it, as (row, reason).

    Raises:
        UserError: the sizes differ, and no size is asked for; no image can be read.
    """
    side = decoding.size or decoding.crop
    if side and decoding.channels:
        return Shape(decoding.channels, side, side), []
    calls = ((look_all, (entries[a : a + PART],)) for a in starts(entries))
    looked = [one for part in in_parallel(calls, len(entries), f"looking at {where}") for one in part]
    shapes = [one for one in looked if isinstance(one, Shape)]
    bad = [(row, one) for row, one in enumerate(looked) if isinstance(one, str)]
    if not shapes:
        named = [(entries[row : row + 1][0].name, why) for row, why in bad]
        settle(named, len(entries), where, "refuse")
    channels = decoding.channels or Counter(shape.channels for shape in shapes).most_common(1)[0][0]
    if decoding.channels is None:
        kind = {1: "grey", 3: "colour"}
        why = f"{kind[4 - channels]} among {kind[channels]} images; dataset.channels={channels} would convert it"
        bad += [(i, why) for i, one in enumerate(looked) if isinstance(one, Shape) and one.channels != channels]
    if side:
        return Shape(channels, side, side), bad
    sizes = Counter((shape.height, shape.width) for shape in shapes)
    if len(sizes) > 1:
        (common, count), (other, _) = sizes.most_common(2)
        raise UserError(
            f"The images in {where} have {len(sizes):,} different sizes ({count:,} are {common[0]}x{common[1]}, "
            f"others {other[0]}x{other[1]}, ...): set dataset.size, for example dataset.size=64."
        )
    return Shape(channels, *next(iter(sizes))), bad


def _reserve(path: Path, nbytes: int, decoding: Decoding) -> None:
    free = shutil.disk_usage(path.parent).free
    if nbytes > free:
        raise UserError(
            f"The decoded images take {nbytes / 1e9:.1f} GB, and {path.parent.parent} has {free / 1e9:.1f} GB left: "
            f"lower dataset.size, or set dataset.cache_dir to another disk."
        )
    with open(path, "wb") as file:
        file.truncate(nbytes)


def _close_gaps(path: Path, count: int, shape: Shape, bad: dict[int, str]) -> None:
    """Move the good rows together and cut the end off; to disk."""
    nbytes = shape.channels * shape.height * shape.width
    with open(path, "r+b") as file:
        end, start = 0, 0
        for row in [*sorted(bad), count] if bad else []:
            for a in range(start, row, PART):  # runs of good rows, a part at a time
                file.seek(a * nbytes)
                data = file.read((min(a + PART, row) - a) * nbytes)
                file.seek(end)
                file.write(data)
                end += len(data)
            start = row + 1
        if bad:
            file.truncate(end)
        file.flush()
        os.fsync(file.fileno())


# -- keys and locks ------------------------------------------------------------------------------------------


def content_hash(entries: Sequence[Entry], cache_dir: Path) -> str:
    """A hash of the entries' names and bytes, in order."""
    whole_files = sorted({entry.file for entry in entries if entry.file})
    stamps = [(file, status.st_size, status.st_mtime_ns) for file in whole_files for status in [os.stat(file)]]
    places = [(entry.name, entry.file, entry.offset, entry.size, entry.member) for entry in entries]
    stamp = hashlib.sha256(json.dumps([stamps, places]).encode()).hexdigest()[:24]
    known = Path(cache_dir).expanduser() / "decoded" / "stamps" / stamp
    with cache_lock(cache_dir, stamp):
        if not known.exists():
            write_atomically(known, _hash_all(entries))
    return known.read_text()


def _hash_all(entries: Sequence[Entry]) -> str:
    digest = hashlib.sha256()
    calls = ((hash_entries, (entries[a : a + PART],)) for a in starts(entries))
    for part in in_parallel(calls, len(entries), "reading"):
        for name, one in part:
            digest.update(f"{name}\0{one}\n".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def cache_lock(cache_dir: Path, name: str) -> Iterator[None]:
    """Only one of the processes that share the cache works on `name` at a time.

    Raises:
        UserError: the cache folder cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(Path(cache_dir).expanduser() / "locks" / re.sub(r"\W+", "_", name)))
        except OSError as error:
            raise UserError(f"dataset.cache_dir={cache_dir} cannot be written to ({error.strerror}).") from error
        yield
