"""Results of real images on disk, each in a file whose name is a hash of all that decides it.

A file is never changed and never out of date: other data, another extractor, another protocol, another version of
torch or of the metrics has another name. Deleting the folder costs only time.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gen import distributed
from lightning_gen.files import content_hash, write_atomically

Arrays = Mapping[str, Tensor | float]
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # what np.load raises


class ResultCache:
    """A folder of results of real images.

    Args:
        folder: ``None``: nothing is kept.
        device: where the results are computed.
    """

    def __init__(self, folder: Path | str | None, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = None if folder is None else Path(folder), torch.device(device)

    def __call__(self, name: str, key: Sequence[Tensor | str], compute: Callable[[], Arrays]) -> dict[str, Tensor]:
        """The result of ``compute`` on the CPU, from its file if there is one.

        Numbers become tensors without dimensions. With several processes all of them must call this.

        Args:
            name: the start of the file's name, such as ``classifier-mnist-v1-n10000``.
            key: everything that decides the result besides the code of the metrics, torch and the device.
            compute: tensors or numbers by name.
        """
        if self.folder is None:
            return as_tensors(compute())
        identity = [*key, name, torch.__version__, self.device.type, code_of_metrics()]
        path = self.folder / f"{name}-{content_hash(*identity)[:24]}.npz"
        found = read_arrays(path)
        # All or none: ``compute`` may sum over the processes and would hang if one of them stayed away.
        if distributed.all_agree(found is not None):
            assert found is not None
            return found
        result = as_tensors(compute())
        if distributed.rank_and_world()[0] == 0:
            arrays: dict[str, Any] = {key: value.numpy() for key, value in result.items()}
            write_atomically(path, lambda file: np.savez(file, **arrays))
        return result


def as_tensors(arrays: Arrays) -> dict[str, Tensor]:
    """Tensors on the CPU; numbers as float64 without dimensions."""
    return {
        name: torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64).cpu()
        for name, value in arrays.items()
    }


def read_arrays(path: Path) -> dict[str, Tensor] | None:
    """The arrays of an .npz file; None if there is no file, or after one line if it is damaged."""
    try:
        with np.load(path) as arrays:  # checks the CRC-32 of each array
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except FileNotFoundError:
        return None
    except UNREADABLE:
        print(f"note: {path} is damaged: its content is computed again.", file=sys.stderr)
        return None


@cache
def code_of_metrics() -> str:
    """A hash of the sources of the metrics, so that results of an earlier version are never used."""
    return content_hash(*(file.read_text() for file in sorted(Path(__file__).parent.glob("*.py"))))
