"""From metrics.csv to the lines of charts: training beside held-out images, seeds averaged."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lightning_gen.runs.comparison import HIDDEN
from lightning_gen.runs.directions import chooser, direction, target

AXES = {"step": "steps", "images_seen": "images seen", "seconds": "seconds"}  # what a curve can stand over
PARTS = {"train": "training", "val": "validation", "eval": "held-out images"}  # by the start of a column's name
BESIDE = {"_train": "training images", "_fake": "samples"}  # by the end of a column's name, next to that without it
MOST_POINTS = 300  # of a line; longer ones are thinned evenly

History = dict[str, np.ndarray]  # columns of metrics.csv, float64 [rows], NaN where there is no value


@dataclass
class Line:
    """One curve: a quantity of one run, or its mean over runs that differ only in the seed.

    `points` holds float64 [N] for each of `AXES` and for `value`; of several runs also `low` and `high`, the lowest
    and the highest value of a run.
    """

    group: int  # which of the compared settings
    part: str  # a value of `PARTS` or of `BESIDE`
    points: dict[str, np.ndarray]


@dataclass
class Chart:
    """A quantity: its lines, its value for real images if that is known, and which direction is better."""

    quantity: str
    lines: list[Line] = field(default_factory=list)
    real: float | None = None

    @property
    def better(self) -> str:
        """`lower is better`, `higher is better`, `0.5 is best`, or nothing."""
        if PARTS["eval"] not in self.parts:
            return ""
        known, best_at = direction(self.quantity), target(self.quantity)
        if best_at is not None:
            return f"{best_at:g} is best"
        return "" if known is None else "lower is better" if known is min else "higher is better"

    @property
    def parts(self) -> set[str]:
        return {line.part for line in self.lines}


def read_history(run_dir: Path) -> History:
    """The columns of a run's metrics.csv; {} if there is none. What is not a number is NaN."""
    path = run_dir / "metrics.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        rows = [row for row in reader if len(row) == len(names)]  # a kill may have left an incomplete one at the end
    columns = dict(zip(names, zip(*rows, strict=True), strict=False))
    return {name: np.array([_number(text) for text in column]) for name, column in columns.items()}


def values_at(history: History, step: int) -> dict[str, float]:
    """The metrics that were logged at a step."""
    rows = history.get("step", np.empty(0)) == step
    found = {name: column[rows & np.isfinite(column)] for name, column in history.items() if name not in AXES}
    return {name: float(values[-1]) for name, values in found.items() if len(values)}


def charts(groups: Sequence[Sequence[History]]) -> list[Chart]:
    """A chart for each quantity that changes over time, in the order of the columns.

    Args:
        groups: for each compared setting the histories of its runs, which differ only in the seed.
    """
    found: dict[str, Chart] = {}
    for index, histories in enumerate(groups):
        names = dict.fromkeys(name for history in histories for name in history)
        for name in names:
            prefix, _, quantity = name.partition("/")
            part = PARTS.get(prefix)
            for end, beside in BESIDE.items():
                if quantity.endswith(end) and name.removesuffix(end) in names:
                    quantity, part = quantity.removesuffix(end), beside
            if part is None or quantity.endswith(HIDDEN):
                continue
            chart = found.setdefault(quantity, Chart(quantity))
            points = _mean([curve for history in histories if len((curve := _curve(history, name))["value"]) > 1])
            if points:
                chart.lines.append(Line(index, part, points))
            floor = _last([history[f"{name}_floor"] for history in histories if f"{name}_floor" in history])
            chart.real = floor if chart.real is None else chart.real
    return [chart for chart in found.values() if any(np.ptp(line.points["value"]) > 0 for line in chart.lines)]


def best(history: History, name: str) -> tuple[float, int] | None:
    """The best value of a metric over a run and its step; None if there is none, or no value is better."""
    better, curve = chooser(name), _curve(history, name)
    if better is None or not len(curve["value"]):
        return None
    place = curve["value"].tolist().index(better(curve["value"].tolist()))
    return float(curve["value"][place]), int(curve["step"][place])


def _curve(history: History, name: str) -> dict[str, np.ndarray]:
    """The points at which a column has a value."""
    values = history.get(name, np.empty(0))
    there = np.isfinite(values)
    axes = {axis: history[axis][there] for axis in AXES if axis in history}
    return axes | {"step": axes.get("step", np.arange(there.sum())), "value": values[there]}


def _mean(curves: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of curves at the steps that they share, with the lowest and the highest value; thinned. {} of none."""
    if not curves:
        return {}
    shared = set(curves[0]["step"]).intersection(*(curve["step"] for curve in curves[1:]))
    steps = np.array(sorted(step for step in shared if math.isfinite(step)))
    if len(steps) < 2:
        return {}
    kept = steps[np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).round().astype(int))]
    rows = [{float(step): place for place, step in enumerate(curve["step"])} for curve in curves]
    stacked = {
        name: np.stack([curve[name][[row[step] for step in kept]] for curve, row in zip(curves, rows, strict=True)])
        for name in (*AXES, "value")
        if all(name in curve for curve in curves)
    }
    points = {name: values.mean(axis=0) for name, values in stacked.items()}
    if len(curves) > 1:
        points |= {"low": stacked["value"].min(axis=0), "high": stacked["value"].max(axis=0)}
    return points


def _last(columns: list[np.ndarray]) -> float | None:
    values = [value for column in columns for value in column[np.isfinite(column)][-1:]]
    return float(np.mean(values)) if values else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
