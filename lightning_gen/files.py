"""Atomic writes, locks between processes, hashes of contents, and short paths."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


CHECKSUM = b"sha256:"
HOST = platform.node()  # part of the names of temporary files, since other hosts may write to the same folder


def write_atomically(path: Path, content: bytes | str | Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically: readers, other writers and a kill at any moment find the old file or the new one.

    The temporary file is in the same folder, because `os.replace` is atomic only within one file system.

    Args:
        path: the file; its folder is created if needed.
        content: bytes, text (written as UTF-8), or a function that writes to an open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that processes of this host have left in a folder when they were killed."""
    for path in folder.glob(".*.tmp"):
        written_by = re.fullmatch(rf"\..+\.{re.escape(HOST)}\.(\d+)\.[0-9a-f]{{8}}\.tmp", path.name)
        if written_by and not _is_running(int(written_by[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether a process with this number runs on this host; true where that cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def with_checksum(archive: bytes) -> bytes:
    """A zip archive with its SHA-256 as its comment, which programs that read the archive skip."""
    content = archive[:-2] + (len(CHECKSUM) + 64).to_bytes(2, "little")  # the last field: the length of the comment
    return content + CHECKSUM + hashlib.sha256(content).hexdigest().encode()


def is_intact(path: Path) -> bool:
    """Whether the content of an archive is the one that `with_checksum` has seen.

    An archive without a checksum counts as intact if its end is there.
    """
    length, ending = path.stat().st_size, len(CHECKSUM) + 64
    with path.open("rb") as file:
        file.seek(max(length - ending, 0))
        comment = file.read()
        if not comment.startswith(CHECKSUM):
            return comment[-22:].startswith(b"PK\x05\x06")
        file.seek(0)
        digest, left = hashlib.sha256(), length - ending
        while left:
            block = file.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
    return comment == CHECKSUM + digest.hexdigest().encode()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on `path` inside the block; other processes on this host wait for it.

    The lock is the file `.NAME.lock` next to `path`. The operating system releases it when its holder ends, however
    that happens, so a lock is never stale.

    Raises:
        OSError: the folder is not writable.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def content_hash(*parts: Tensor | str, rows: int = 4096) -> str:
    """SHA-256 over texts and tensors; a tensor, on any device, is read `rows` rows at a time."""
    import torch

    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
            continue
        digest.update(f"{part.dtype} {list(part.shape)}".encode())
        for block in part.split(rows):
            digest.update(block.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def shortest(path: Path) -> str:
    """The path relative to the working directory if it lies below, else as it is."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
