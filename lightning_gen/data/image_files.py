"""The image files in a folder, zip or tar file."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from lightning_gen.data.decode import Entry
from lightning_gen.data.decoded import cache_lock
from lightning_gen.data.imageset import Decoding
from lightning_gen.errors import UserError
from lightning_gen.randomness import mix

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
ALWAYS_UNPACKED = 10**9  # bytes to which any archive may unpack;
MOST_UNPACKED = 100  # above that, how many times its size


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
