"""Charts of a search: learning curves, importances, parallel coordinates, slices, contours, the Pareto front."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from bokeh.models import (
    ColumnDataSource,
    FactorRange,
    FixedTicker,
    HBar,
    MultiLine,
    PrintfTickFormatter,
    Range1d,
    Scatter,
    Text,
)
from bokeh.palettes import Cividis256
from optuna.distributions import BaseDistribution, CategoricalDistribution

from lightning_gen.report.charts import GREY, LARGE, Plot, coloured, hover, new_plot, thousands
from lightning_gen.search.leaderboard import Leaderboard

ALL, BEST = 0, 1  # colours
SIDE = 60  # points of a contour chart in each direction
LEVELS = 10
MOST_PAIRS = 3
SPAN = 20  # a larger ratio of values gets a logarithmic axis


def learning_curves(board: Leaderboard, names: dict[int, str]) -> Plot:
    """The first metric of all settings over steps: those that were not completed grey, the best one thick."""
    values = [value for entry in board.entries for curve in entry.curves for _, value in curve]
    plot = new_plot("steps", board.metrics[0], LARGE, y_axis_type=_axis_type(values))
    thousands(plot)
    best = board.entries[0]
    parts = (
        (GREY, 1.5, [entry for entry in board.entries if not entry.completed]),
        (ALL, 1.5, [entry for entry in board.entries[1:] if entry.completed]),
        (BEST, 3.5, [best] if best.completed else []),
    )
    for colour, width, entries in parts:
        lines = [(names[id(entry)], entry.status, curve) for entry in entries for curve in entry.curves if curve]
        if not lines:
            continue
        steps, heights = ([[point[axis] for point in curve] for *_, curve in lines] for axis in (0, 1))
        ends = {"name": [name for name, *_ in lines], "status": [status for _, status, _ in lines]}
        source = ColumnDataSource({"xs": steps, "ys": heights, **ends})
        drawn = plot.add_glyph(source, MultiLine(xs="xs", ys="ys", line_width=width, line_alpha=0.85))
        coloured(drawn, colour)
        hover(plot, [drawn], [("", "@name"), ("", "@status")])
        dots = {"x": list(itertools.chain(*steps)), "value": list(itertools.chain(*heights))}
        coloured(plot.add_glyph(ColumnDataSource(dots), Scatter(x="x", y="value", size=width + 2)), colour)
    return plot


def pareto(board: Leaderboard, names: dict[int, str]) -> Plot:
    """The first two metrics of the completed settings, those on the front in another colour."""
    plot = new_plot(board.metrics[0], board.metrics[1], LARGE)
    front = {id(entry) for entry in board.front()}
    done = [entry for entry in board.entries if entry.completed]
    for colour, on_front in ((ALL, False), (BEST, True)):
        entries = [entry for entry in done if (id(entry) in front) == on_front]
        columns = {
            "value": [entry.values[0] for entry in entries],
            "low": [entry.values[1] for entry in entries],
            "name": [names[id(entry)] for entry in entries],
        }
        drawn = plot.add_glyph(ColumnDataSource(columns), Scatter(x="value", y="low", size=9))
        coloured(drawn, colour)
        tips = [("", "@name"), (board.metrics[0], "@value{%.4g}"), (board.metrics[1], "@low{%.4g}")]
        hover(plot, [drawn], tips)
    return plot


def importance_bars(shares: dict[str, float]) -> Plot:
    """A bar for each key, the longest on top."""
    keys = list(shares)[::-1]
    longest = Range1d(start=0, end=max(*shares.values(), 0.01) * 1.05)
    plot = new_plot("share", "", LARGE, y_range=FactorRange(factors=keys), x_range=longest)
    source = ColumnDataSource({"key": keys, "value": [shares[key] for key in keys]})
    drawn = plot.add_glyph(source, HBar(y="key", right="value", left=0, height=0.6))
    coloured(drawn, ALL)
    hover(plot, [drawn], [("", "@key"), ("share", "@value{%.3g}")])
    return plot


def parallel(board: Leaderboard, study: optuna.Study) -> Plot:
    """Parallel coordinates: an axis for each key and for the metric, a line for each setting."""
    trials, kinds = study.trials, study.trials[0].distributions
    values = [trial.values[0] for trial in trials]
    columns = [[_place(kinds[key], trial.params[key]) for trial in trials] for key in kinds]
    columns.append([math.log(value) for value in values] if _axis_type(values) == "log" else values)
    scaled = np.array([_scaled(column) for column in columns]).T  # [trials, axes]
    names = [*kinds, board.metrics[0]]
    across, up = Range1d(start=-0.35, end=len(names) - 0.65), Range1d(start=-0.12, end=1.12)
    plot = new_plot("", "", LARGE, x_range=across, y_range=up)
    plot.xaxis.major_label_orientation = 0.35  # radians, for narrow windows
    plot.yaxis.visible = False
    plot.ygrid.visible = False
    plot.xaxis.ticker = FixedTicker(ticks=list(range(len(names))))
    plot.xaxis.major_label_overrides = dict(enumerate(names))
    order = _in_order(values, board.modes[0])
    quarter = set(order[1 : max(2, math.ceil(len(order) / 4))])
    parts = ((GREY, 1, set(order[1:]) - quarter), (ALL, 1.8, quarter), (BEST, 3.5, {order[0]}))
    for colour, width, chosen in parts:
        picked = sorted(chosen)
        source = ColumnDataSource(
            {
                "xs": [list(range(len(names)))] * len(picked),
                "ys": [scaled[index].tolist() for index in picked],
                "name": [_said(trials[index], names[-1]) for index in picked],
            }
        )
        drawn = plot.add_glyph(source, MultiLine(xs="xs", ys="ys", line_width=width, line_alpha=0.85))
        coloured(drawn, colour)
        hover(plot, [drawn], [("", "@name")])
    _label_ends(plot, [_ends(kinds[key], trials, key) for key in kinds] + [_ends_of(values)])
    return plot


def slice_of(board: Leaderboard, study: optuna.Study, key: str) -> Plot:
    """The metric against one key."""
    trials, kind = study.trials, study.trials[0].distributions[key]
    values = [trial.values[0] for trial in trials]
    options: dict[str, Any] = {}
    if isinstance(kind, CategoricalDistribution):
        options["x_range"] = FactorRange(factors=[str(choice) for choice in kind.choices])
    if getattr(kind, "log", False):
        options["x_axis_type"] = "log"
    plot = new_plot(key, board.metrics[0], y_axis_type=_axis_type(values), **options)
    if not isinstance(kind, CategoricalDistribution):
        plot.xaxis.formatter = PrintfTickFormatter(format="%.3g")
    best = _in_order(values, board.modes[0])[0]
    for colour, size, chosen in ((ALL, 8, [i for i in range(len(trials)) if i != best]), (BEST, 12, [best])):
        columns = {
            "x": [trials[index].params[key] for index in chosen],
            "value": [values[index] for index in chosen],
            "name": [_said(trials[index], board.metrics[0]) for index in chosen],
        }
        drawn = plot.add_glyph(ColumnDataSource(columns), Scatter(x="x", y="value", size=size, fill_alpha=0.8))
        coloured(drawn, colour)
        hover(plot, [drawn], [("", "@name")])
    return plot


def pairs(study: optuna.Study, keys: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of the most important numbers, for contours."""
    kinds = study.trials[0].distributions
    numbers = [key for key in keys if not isinstance(kinds[key], CategoricalDistribution)]
    return list(itertools.combinations(numbers, 2))[:MOST_PAIRS]


def contour(board: Leaderboard, study: optuna.Study, one: str, other: str) -> Plot:
    """The metric over two keys, linear between the settings that were tried.

    Raises:
        ValueError: the settings lie on a line, or their values are equal.
    """
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    kinds, trials = study.trials[0].distributions, study.trials
    logs = {key: getattr(kinds[key], "log", False) for key in (one, other)}
    x, y = (np.array([_place(kinds[key], trial.params[key]) for trial in trials]) for key in (one, other))
    values = np.array([trial.values[0] for trial in trials])
    if np.ptp(values) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0 or len(values) < 4:
        raise ValueError("nothing varies")
    across, up = (np.linspace(side.min(), side.max(), SIDE) for side in (x, y))
    try:
        heights = griddata((_scaled(x), _scaled(y)), values, tuple(np.meshgrid(_scaled(across), _scaled(up))))
    except QhullError as error:
        raise ValueError("the settings lie on a line") from error
    options = {"x_axis_type": "log" if logs[one] else "linear", "y_axis_type": "log" if logs[other] else "linear"}
    plot = new_plot(one, other, LARGE, **options)
    plot.xaxis.formatter = plot.yaxis.formatter = PrintfTickFormatter(format="%.3g")
    axes = [np.exp(side) if logs[key] else side for key, side in ((one, across), (other, up))]
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    levels = np.geomspace(low, high, LEVELS) if low > 0 and high / low > SPAN else np.linspace(low, high, LEVELS)
    palette = [Cividis256[round(place)] for place in np.linspace(30, 255, LEVELS - 1)]
    areas = plot.contour(axes[0], axes[1], heights, levels, fill_color=palette)
    plot.add_layout(areas.construct_color_bar(title=board.metrics[0]), "right")
    names = [_said(trial, board.metrics[0]) for trial in trials]
    places = {"x": [t.params[one] for t in trials], "y": [t.params[other] for t in trials], "name": names}
    dots = Scatter(x="x", y="y", size=7, line_color="white", fill_color="black")
    drawn = plot.add_glyph(ColumnDataSource(places), dots)
    hover(plot, [drawn], [("", "@name")])
    return plot


# -- numbers ---------------------------------------------------------------------------------------------------


def _axis_type(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    return "log" if finite and min(finite) > 0 and max(finite) / min(finite) > SPAN else "linear"


def _in_order(values: Sequence[float], mode: str) -> list[int]:
    """The places of these values, the best first."""
    return sorted(range(len(values)), key=lambda place: values[place], reverse=mode == "max")


def _place(kind: BaseDistribution, value: Any) -> float:
    """Where a value stands on the axis of its key."""
    if isinstance(kind, CategoricalDistribution):
        return float(kind.choices.index(value))
    return math.log(value) if getattr(kind, "log", False) else float(value)


def _scaled(values: Any) -> np.ndarray:
    """The values from 0 to 1; in the middle if they are all equal."""
    array = np.asarray(values, dtype=float)
    span = float(np.ptp(array))
    return (array - array.min()) / span if span else np.full_like(array, 0.5)


def _ends(kind: BaseDistribution, trials: Sequence[Any], key: str) -> dict[float, str]:
    """What stands on the axis of a key: the lowest and the highest value, or all choices."""
    if isinstance(kind, CategoricalDistribution):
        return dict(zip(_scaled(range(len(kind.choices))), map(str, kind.choices), strict=True))
    return _ends_of([trial.params[key] for trial in trials])


def _ends_of(values: Sequence[float]) -> dict[float, str]:
    return {-0.09: f"{min(values):.3g}", 1.05: f"{max(values):.3g}"}


def _label_ends(plot: Plot, ends: list[dict[float, str]]) -> None:
    labels = [(axis, height, text) for axis, places in enumerate(ends) for height, text in places.items()]
    axes, heights, texts = (list(column) for column in zip(*labels, strict=True))
    source = ColumnDataSource({"x": axes, "y": heights, "text": texts})
    drawn = plot.add_glyph(source, Text(x="x", y="y", text="text", text_font_size="12px", x_offset=4))
    drawn.tags = [{"colour": "text"}]


def _said(trial: Any, metric: str) -> str:
    """A setting in a line."""
    params = " ".join(f"{key}={f'{v:.4g}' if isinstance(v, float) else v}" for key, v in trial.params.items())
    return f"{trial.user_attrs['run']}: {params}, {metric} {trial.values[0]:.4g}"
