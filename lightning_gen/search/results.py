"""What a run says of a metric."""

import csv
import math
from pathlib import Path
from typing import Any

Curve = list[tuple[int, float]]  # a metric over steps


def value_of(summary: dict[str, Any], name: str) -> float:
    """The value of a metric at the end of a run, or its best value if it decided best.ckpt; NaN if it has none.

    `fid` is the Frechet distance of the run, whatever its features.
    """
    value = _entry(summary, name)
    return math.nan if value is None else float(value)


def has_value(summary: dict[str, Any], name: str) -> bool:
    """Whether a metric was measured; its value may be NaN."""
    return _entry(summary, name) is not None


def _entry(summary: dict[str, Any], name: str) -> float | None:
    best, metrics = summary.get("best", {}), summary.get("metrics", {})
    found: float | None = best.get("value") if best.get("metric") == name else metrics.get(column(metrics, name))
    return found


def curve(file: Path, name: str) -> Curve:
    """The values of a metric in metrics.csv, by step."""
    if not file.is_file():
        return []
    with open(file, newline="") as rows:
        reader = csv.DictReader(rows)
        there = column(dict.fromkeys(reader.fieldnames or []), name)
        return [(int(row["step"]), float(row[there])) for row in reader if there is not None and row.get(there)]


def column(metrics: dict[str, Any], name: str) -> str | None:
    """The full name of a metric among those that there are."""
    if name != "fid":
        return name if name in metrics else None
    sides = ("_std", "_floor", "_noise")
    return next((key for key in metrics if key.startswith("eval/fid") and not key.endswith(sides)), None)
