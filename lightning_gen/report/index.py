"""The list of all runs in a folder: index.html, and index.json with the same for programs."""

import datetime
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightning_gen.errors import UserError
from lightning_gen.files import locked, write_atomically
from lightning_gen.report.html import own_file, rendered
from lightning_gen.runs.records import read_config, read_summary
from lightning_gen.runs.run import LOCK


@dataclass
class Entry:
    """A run, as one row of the list."""

    path: str  # below the folder
    stamp: int  # when its summary was written, in nanoseconds
    model: str
    data: str
    seed: str
    status: str
    step: int | None
    seconds: float | None
    metric: str  # the one of best.ckpt
    best: float | None
    ended: str
    report: bool  # whether it has a report.html


def entries(folder: Path) -> list[Entry]:
    """All runs below a folder, the newest first. Runs that have not changed are taken from index.json."""
    known = _known(folder)
    found = []
    for path in run_directories(folder):
        name = path.relative_to(folder).as_posix()
        stamp, report = _stamp(path), (path / "report.html").exists()
        entry = known.get(name)
        if entry is None or entry.stamp != stamp or entry.status == "running":
            entry = _read(path, name, stamp)
        if entry is not None:
            entry.report = report
            found.append(entry)
    return sorted(found, key=lambda entry: (entry.stamp, entry.path), reverse=True)


def write_index(folder: Path) -> list[Entry]:
    """Write index.html and index.json, one process after the other.

    Raises:
        OSError: the folder is not writable.
    """
    with locked(folder / "index.html"):
        found = entries(folder)
        write_atomically(folder / "index.json", json.dumps([asdict(entry) for entry in found], indent=1) + "\n")
        now = f"{datetime.datetime.now():%d %B %Y, %H:%M}"
        html = rendered("index.html", {"script": own_file("index.js")}, entries=found, now=now)
        write_atomically(folder / "index.html", html)
    return found


def run_directories(folder: Path) -> Iterator[Path]:
    """The run directories below a folder; links are not followed."""
    for path, names, files in os.walk(folder):
        if "config.yaml" in files:
            names.clear()  # a run holds no runs
            yield Path(path)
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))


def _read(path: Path, name: str, stamp: int) -> Entry | None:
    """The row of a run; None for what is not a readable run."""
    try:
        config, summary = read_config(path), read_summary(path)
    except UserError:
        return None
    progress, best = summary.get("progress", {}), summary.get("best", {})
    status = str(summary.get("status", "unknown"))
    running = status == "running"
    return Entry(
        path=name,
        stamp=stamp,
        model=str(config.model.get("name")),
        data=str(config.dataset.get("name")),
        seed=str(config.get("seed")),
        status="killed" if running and not _is_locked(path) else status,
        step=_last_step(path) if running else _number(progress.get("step")),
        seconds=_number(progress.get("seconds")),
        metric=str(best.get("metric") or "").removeprefix("eval/"),
        best=_number(best.get("value")),
        ended=str(summary.get("provenance", {}).get("time") or ""),
        report=False,
    )


def _known(folder: Path) -> dict[str, Entry]:
    try:
        listed = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return {entry["path"]: Entry(**entry) for entry in listed}
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or of another version
        return {}


def _stamp(path: Path) -> int:
    try:
        return (path / "summary.json").stat().st_mtime_ns
    except OSError:
        return 0


def _is_locked(path: Path) -> bool:
    """Whether a process trains in this directory."""
    if not (path / LOCK).exists():
        return False
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _last_step(path: Path) -> int | None:
    """The step of the last row of metrics.csv."""
    try:
        with open(path / "metrics.csv", "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 20_000, 0))
            return int(file.read().decode(errors="replace").rstrip().splitlines()[-1].split(",")[0])
    except (OSError, ValueError, IndexError):
        return None


def _number(value: Any) -> Any:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
