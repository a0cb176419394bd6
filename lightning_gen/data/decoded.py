"""A cache of decoded images: a raw file of uint8 values that every later run maps into memory.

`<cache_dir>/decoded/<key>/` contains `images.u8` and `meta.json`. The key is a hash of the files' names and contents,
in order, and of the decoding options. So moving or touching a folder keeps its cache, and changing an image does not.
`stamps/` remembers the hash for given names, sizes and modification times, so that files are read again only if one
of these has changed. A cache is built under another name and renamed when it is complete; a lock makes other
processes wait meanwhile.
"""

import contextlib
import hashlib
import json
import math
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

VERSION = 1  # to be raised when decoding gives other pixels


@dataclass(frozen=True)
class Decoded:
    """Images uint8 [N, C, H, W] mapped into memory, the rows of the entries they come from, and what was left out."""

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
    """Splits of image files with labels int64 [N]; the first `train_count` files are the training split."""
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
    """Splits of decoded entries, from the cache if they are in it.

    Args:
        entries: where the images are; the first `train_count` are the training split.
        train_count: number of training images.
        decoding: shape of the images, and the folder of the cache.
        where: what the images belong to, for messages.
        labels: int64 [N], or None.
        classes: names of the classes.
        content: a hash of the entries, if it is known already.

    Raises:
        UserError: there are bad images and they are refused; sizes or channels differ; the disk is full.
    """
    found = decoded(entries, decoding, where, content or content_hash(entries, decoding.cache_dir))
    settle(sorted(found.bad), len(entries), where, decoding.on_bad_image)
    if labels is not None:
        labels = labels[found.kept]
    whole = ImageSet(found.images, labels, classes, mapped=True)
    cut = sum(index < train_count for index in found.kept)
    return Splits(whole.part(0, cut), whole.part(cut, len(whole)))


def decoded(entries: Sequence[Entry], decoding: Decoding, where: str, content: str) -> Decoded:
    """The decoded images; the first process that asks builds the cache."""
    options = [VERSION, decoding.size, decoding.channels, decoding.crop]
    key = hashlib.sha256(json.dumps([content, *options]).encode()).hexdigest()[:24]
    folder = _root(decoding) / "decoded" / key
    if not folder.is_dir():
        with cache_lock(decoding.cache_dir, key):
            for left_over in folder.parent.glob(f"{key}.part*"):  # left by a crash, since this process holds the lock
                shutil.rmtree(left_over)
            if not folder.is_dir():
                _build(folder, entries, decoding, where)
    return _read(folder)


def _root(decoding: Decoding) -> Path:
    return Path(decoding.cache_dir).expanduser()


def _read(folder: Path) -> Decoded:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        bad = [(str(name), str(why)) for _, name, why in meta["bad"]]
        bad_rows = {row for row, _, _ in meta["bad"]}
        kept = [row for row in range(meta["entries"]) if row not in bad_rows]
        shape = (len(kept), *map(int, meta["shape"]))
        numel = math.prod(shape)
        damaged = (folder / "images.u8").stat().st_size < numel
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(folder) from error
    if damaged:
        raise _damaged(folder)
    # Not shared: writing to these images would never change the file.
    images = (
        torch.from_file(str(folder / "images.u8"), shared=False, size=numel, dtype=torch.uint8) if numel else None
    )
    empty = torch.empty(0, dtype=torch.uint8)
    return Decoded((empty if images is None else images).view(shape), kept, bad)


def _damaged(folder: Path) -> UserError:
    return UserError(f"The cache {folder} is damaged: delete it, and it will be built again.")


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
        reasons = dict(bad)  # if a row failed twice, the later reason
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
    """The shape that all images get, and row and reason of those that cannot have it.

    Raises:
        UserError: the sizes differ and neither `size` nor `crop` is given, or no image can be read.
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
    """Remove the bad rows from the file, and flush it to disk."""
    nbytes = shape.channels * shape.height * shape.width
    with open(path, "r+b") as file:
        end, start = 0, 0
        for row in [*sorted(bad), count] if bad else []:
            for a in range(start, row, PART):  # a run of good rows, part by part
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
    """A hash of the names and contents of the entries, in order."""
    whole_files = sorted({entry.file for entry in entries if entry.file})
    stamps = [(file, *_stamp(file)) for file in whole_files]
    places = [(entry.name, entry.file, entry.offset, entry.size, entry.member) for entry in entries]
    stamp = hashlib.sha256(json.dumps([stamps, places]).encode()).hexdigest()[:24]
    known = Path(cache_dir).expanduser() / "decoded" / "stamps" / stamp
    with cache_lock(cache_dir, stamp):
        if not (known.exists() and re.fullmatch(rb"[0-9a-f]{64}", known.read_bytes())):
            write_atomically(known, _hash_all(entries))
    return known.read_text(encoding="utf-8")


def _stamp(file: str) -> tuple[int, int]:
    """Size and time of a file; zeros for a link that leads nowhere."""
    try:
        status = os.stat(file)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _hash_all(entries: Sequence[Entry]) -> str:
    digest = hashlib.sha256()
    calls = ((hash_entries, (entries[a : a + PART],)) for a in starts(entries))
    for part in in_parallel(calls, len(entries), "reading"):
        for name, one in part:
            digest.update(f"{name}\0{one}\n".encode(errors="surrogateescape"))  # names may be no UTF-8
    return digest.hexdigest()


@contextlib.contextmanager
def cache_lock(cache_dir: Path, name: str) -> Iterator[None]:
    """Let only one of the processes that share the cache work on `name` at a time.

    Raises:
        UserError: the cache folder is not writable.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(Path(cache_dir).expanduser() / "locks" / re.sub(r"\W+", "_", name)))
        except OSError as error:
            raise UserError(f"dataset.cache_dir={cache_dir} cannot be written to ({error.strerror}).") from error
        yield
