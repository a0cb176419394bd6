"""Files that are either whole or not there, and names made from content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import torch
from torch import Tensor


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that readers, and other writers of the same file, only ever see it whole.

    The temporary file lies in the same folder: ``os.replace`` is atomic only within one file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold ``path`` with ``.lock`` added for the length of the block; other processes of this host wait.

    The system lets go of the lock when its holder ends, however that happens, so none is ever stale. Where there
    are no such locks (Windows) nobody waits, and at worst the same work is done twice.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def content_hash(*parts: Tensor | str, rows: int = 4096) -> str:
    """SHA-256 over texts and tensors; a tensor, on whatever device, is read ``rows`` rows at a time."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
            continue
        digest.update(f"{part.dtype} {list(part.shape)}".encode())
        for block in part.split(rows):
            digest.update(block.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
