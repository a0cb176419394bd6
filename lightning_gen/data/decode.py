"""From the bytes of an image file to pixels. Does not import torch, so that worker processes start quickly."""

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

LARGEST_FILE = 2**30  # bytes of one image file
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 swap height and width
UPRIGHT = {  # what turns an image of each orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(Exception):
    """An image that cannot be used; the message is the reason."""


class Entry(NamedTuple):
    """Where the bytes of one image are: a file, part of a file (`offset`, `size`), a zip member, or `data` itself."""

    name: str
    file: str = ""
    offset: int = -1
    size: int = -1
    member: str = ""
    data: bytes = b""

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            BadImage: it is not a file, or larger than LARGEST_FILE.
        """
        if self.member:
            archive = _zip(self.file)
            _check_length(archive.getinfo(self.member).file_size)
            return archive.read(self.member)
        if not self.file:
            return self.data
        status = os.stat(self.file)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could take forever
            raise BadImage("not a file")
        _check_length(status.st_size if self.offset < 0 else self.size)
        with open(self.file, "rb") as file:
            if self.offset < 0:
                return file.read()
            file.seek(self.offset)
            return file.read(self.size)


def _check_length(count: int) -> None:
    if count > LARGEST_FILE:
        raise BadImage(f"{count / 2**30:.1f} GB; an image file may have {LARGEST_FILE / 2**30:.0f} GB")


@lru_cache(maxsize=4)  # so that each process reads a zip's directory once
def _zip(file: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(file)


class Shape(NamedTuple):
    """Channels, height and width."""

    channels: int
    height: int
    width: int


def look(entry: Entry) -> Shape:
    """The shape of an image, from its header alone.

    Raises:
        BadImage: the image cannot be read.
    """
    with _open(entry) as image:
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Shape(1 if image.mode in GREY_MODES else 3, height, width)


def decode(entry: Entry, channels: int | None, crop: int | None, size: int | None) -> np.ndarray:
    """The pixels, uint8 [C, H, W]: turned upright, cropped to the centre, resized (bilinear with antialiasing).

    16-bit values are reduced to 8 bits and an alpha channel is dropped.

    Args:
        entry: where the image is.
        channels: 1 converts to grey by luma (ITU-R BT.601), 3 to colour by repetition; None: as the image is.
        crop: side in pixels of the central square; None: the largest square if `size` is given, else the whole image.
        size: side in pixels after resizing; None: no resizing.

    Raises:
        BadImage: the image cannot be read, or is smaller than the crop.
    """
    with _open(entry) as image:
        try:
            image.load()
            turn = UPRIGHT.get(_orientation(image))
            upright = _eight_bits(image if turn is None else image.transpose(turn))
            grey = channels == 1 or (channels is None and upright.mode in GREY_MODES)
            upright = upright.convert("L" if grey else "RGB")
        except BadImage:
            raise
        except Exception as error:  # damaged files raise many kinds of errors
            raise BadImage(_reason(error)) from error
    side = crop or (min(upright.size) if size else None)
    if side is not None:
        upright = _centre(upright, side)
    if size is not None and upright.size != (size, size):
        upright = upright.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(upright)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _open(entry: Entry) -> Image.Image:
    try:
        data = entry.read()
        if not data:
            raise BadImage("zero bytes")
        return Image.open(io.BytesIO(data))
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not an image in a known format") from error
    except Exception as error:  # of files, archives and formats, of many kinds
        raise BadImage(_reason(error)) from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if the metadata are damaged or say something else."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged metadata; damaged pixels are found when they are read
        return 1
    return value if value in UPRIGHT else 1


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error).splitlines() or [type(error).__name__])[0]


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise BadImage("32 bits per pixel; save it with 8 or 16")
    return image


def _centre(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if min(width, height) < side:
        raise BadImage(f"{height}x{width}, smaller than dataset.crop={side}")
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


Result = tuple[int, str]  # row, reason


def look_all(entries: list[Entry]) -> list[Shape | str]:
    """The shape of each image, or the reason why it cannot be read."""
    return [_or_reason(lambda entry=entry: look(entry)) for entry in entries]  # type: ignore[misc]


def _or_reason(action: Callable[[], Shape]) -> Shape | str:
    try:
        return action()
    except BadImage as error:
        return str(error)


def decode_into(
    path: str, start: int, entries: list[Entry], shape: Shape, crop: int | None, size: int | None
) -> list[Result]:
    """Decode images into a raw file, from row `start` on; returns row and reason of the bad ones.

    The row of a bad image is black. The file is written to directly instead of through a memory map, so that a full
    disk is an error and not a crash.
    """
    rows = np.zeros((len(entries), *shape), dtype=np.uint8)
    bad = []
    for i, entry in enumerate(entries):
        try:
            pixels = decode(entry, shape.channels, crop, size)
            if pixels.shape != tuple(shape):
                raise BadImage(f"{pixels.shape[1]}x{pixels.shape[2]}, not {shape.height}x{shape.width}")
            rows[i] = pixels
        except BadImage as error:
            bad.append((start + i, str(error)))
    with open(path, "r+b") as file:
        file.seek(start * rows[0].size)
        file.write(rows.tobytes())
    return bad


def hash_entries(entries: list[Entry]) -> list[tuple[str, str]]:
    """Name and SHA-256 of the bytes of each image; for one that cannot be read, its error in place of the hash."""
    result = []
    for entry in entries:
        try:
            result.append((entry.name, hashlib.sha256(entry.read()).hexdigest()))
        except Exception as error:  # decoding reports what is wrong
            result.append((entry.name, repr(error)))
    return result
