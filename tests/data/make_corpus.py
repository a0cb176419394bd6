"""Writes image files and archives that are damaged or strange, small and always the same.

python -m tests.data.make_corpus FOLDER
"""

import io
import os
import random
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import ExifTags, Image

ORIENTATION = 0x0112
FORMATS = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
MODES = {  # what Pillow can write, by the format that holds it
    "1": "png",
    "L": "png",
    "LA": "png",
    "P": "png",
    "RGB": "png",
    "RGBA": "png",
    "I;16": "png",
    "CMYK": "jpeg",
    "YCbCr": "jpeg",
    "LAB": "tiff",
}


def encoded(form: str = "png", mode: str = "RGB", **options: object) -> bytes:
    """An image of 8x8 pixels that are not all equal."""
    image = Image.frombytes("RGB", (8, 8), random.Random(0).randbytes(8 * 8 * 3))
    if mode == "I;16":
        image = Image.frombytes(mode, (8, 8), random.Random(0).randbytes(8 * 8 * 2))
    elif mode == "LAB":
        image = Image.frombytes(mode, (8, 8), image.tobytes())
    else:
        image = image.convert("L").convert(mode) if mode == "LA" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(tag: int, kind: int, value: bytes) -> bytes:
    """Metadata with one tag, whose value of four bytes is read as this TIFF type: 2 is text, 3 a short, 5 a fraction."""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI", 1, tag, kind, 1) + value + bytes(4)


def damaged() -> dict[str, bytes]:
    """The contents of files that are no image, by their names."""
    turned = encoded(exif=exif(ORIENTATION, 3, b"\6\0\0\0"))
    files = {f"cut.{form}": encoded(form)[:-30] for form in ("png", "jpeg", "bmp", "webp", "ppm")}
    files |= {f"cut at {at}.png": turned[:at] for at in (4, 8, 20, 40, len(turned) // 2, len(turned) - 60)}
    files["empty.png"] = b""
    files["text.png"] = b"hello"
    files["signature only.png"] = turned[:8]
    files["other bytes.png"] = turned[:33] + random.Random(1).randbytes(200)
    files["too large.png"] = turned[:16] + struct.pack(">II", 2**30, 2**30) + turned[24:]
    return files


def strange() -> dict[bytes, bytes]:
    """The contents of images that are strange but right, by the bytes of their names."""
    files = {f"{mode}.{form}".replace(";", "_").encode(): encoded(form, mode) for mode, form in MODES.items()}
    files |= {f"format.{form}".encode(): encoded(form) for form in FORMATS}
    files[b"UPPER.PNG"] = encoded()
    files["ünï — 画.png".encode()] = encoded()
    files[b"latin\xfc.png"] = encoded()  # no UTF-8
    files[b"new\nline.png"] = encoded()
    for kind in range(14):  # and types that do not exist
        for value in (b"\6\0\0\0", b"\xff\xff\xff\xff"):
            files[f"orientation {kind} {value[0]}.jpg".encode()] = encoded(
                "jpeg", exif=exif(ORIENTATION, kind, value)
            )
    for tag in sorted(ExifTags.TAGS)[::8]:
        files[f"tag {tag}.jpg".encode()] = encoded("jpeg", exif=exif(tag, tag % 13, b"\xff\x10\0\0"))
    for seed in range(8):
        junk = b"Exif\0\0II*\0\x08\0\0\0" + random.Random(seed).randbytes(60)
        files[f"junk {seed}.jpg".encode()] = encoded("jpeg", exif=junk)
    return files


def no_files(folder: Path) -> None:
    """Names of images that are no files: links that lead nowhere or in a circle, a pipe, a device."""
    (folder / "broken link.png").symlink_to("missing.png")
    (folder / "self link.png").symlink_to("self link.png")
    (folder / "device.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")


def mutants(count: int) -> Iterator[bytes]:
    """Images with a few changed bytes."""
    choose = random.Random(2)
    for number in range(count):
        data = bytearray(encoded(FORMATS[number % len(FORMATS)]))
        for _ in range(choose.randint(1, 4)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        yield bytes(data)


def zipped(change: Callable[[bytearray, int, int], None]) -> bytes:
    """A zip of 12 images, changed by `change(data, local header of an image, its entry in the directory)`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(12):
            archive.writestr(f"{number:02d}.png", encoded())
    data = bytearray(file.getvalue())
    change(data, data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02"))
    return bytes(data)


def _encrypted(data: bytearray, local: int, entry: int) -> None:
    data[local + 6] |= 1
    data[entry + 8] |= 1


def _unknown_method(data: bytearray, local: int, entry: int) -> None:
    data[local + 8] = data[entry + 10] = 99


def _other_content(data: bytearray, local: int, entry: int) -> None:
    data[local + 60] ^= 255


def _huge(data: bytearray, local: int, entry: int) -> None:
    for at in (local + 22, entry + 24):
        data[at : at + 4] = struct.pack("<I", 2**32 - 16)


ZIPS = {"encrypted": _encrypted, "unknown method": _unknown_method, "wrong CRC": _other_content, "huge member": _huge}


def bomb(nbytes: int) -> bytes:
    """A compressed tar whose only image has this many zeros."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("zeros.png")
        info.size = nbytes
        archive.addfile(info, io.BytesIO(bytes(nbytes)))
    return file.getvalue()


def write(folder: Path) -> None:
    """Write the whole corpus."""
    for name in ("damaged", "strange", "no files", "zip"):
        (folder / name).mkdir(parents=True)
    for name, data in damaged().items():
        (folder / "damaged" / name).write_bytes(data)
    for raw, data in strange().items():
        (folder / "strange" / os.fsdecode(raw)).write_bytes(data)
    no_files(folder / "no files")
    for name, change in ZIPS.items():
        (folder / "zip" / f"{name}.zip").write_bytes(zipped(change))
    (folder / "bomb.tar.gz").write_bytes(bomb(10**7))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
