"""Reads the offline record of wandb back, for which wandb itself has no function: protobuf in the framing of LevelDB."""

import json
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, FRAME = 7, 32768, 7  # bytes: of the file, of a block, before each part of a record
LAST = (1, 4)  # kinds of parts that complete a record: all of it, its end


def records(file: Path) -> Iterator[Record]:
    """The records of a `.wandb` file, in order."""
    data, at, whole = file.read_bytes(), HEADER, b""
    while at + FRAME <= len(data):
        if BLOCK - at % BLOCK < FRAME:  # the rest of a block is filled up
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + FRAME])
        at += FRAME + length
        whole += data[at - length : at]
        if kind in LAST:
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def values(items: Iterable[Any]) -> dict[str, Any]:
    """The keys and values of a row, of a config or of a summary, as nested dicts."""
    found: dict[str, Any] = {}
    for item in items:
        *outer, name = list(item.nested_key) or [item.key]
        place = found
        for key in outer:
            place = place.setdefault(key, {})
        place[name] = json.loads(item.value_json)
    return found


class Part:
    """What one process has written of a run: its config, metrics, rows, summary, artifacts, and the kinds of records."""

    def __init__(self, file: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.kinds: list[str] = []
        for record in records(file):
            kind = record.WhichOneof("record_type")
            self.kinds.append(kind)
            if kind == "run":
                self.run = record.run
                self.config = values(record.run.config.update)
            elif kind == "config":
                self.config |= values(record.config.update)
            elif kind == "metric":
                self.metrics[record.metric.name] = record.metric
            elif kind == "history":
                self.rows.append(values(record.history.item))
            elif kind == "summary":
                self.summary |= values(record.summary.update)
            elif kind == "artifact":
                self.artifacts.append(record.artifact)


def parts_of(run_dir: Path) -> list[Part]:
    """The parts of the offline record in a run directory, in order of time.

    The process of wandb may write the end of a file a moment after the run has finished.
    """
    files = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))
    until = time.monotonic() + 10
    while time.monotonic() < until and not all("exit" in Part(file).kinds for file in files):
        time.sleep(0.05)
    return [Part(file) for file in files]
