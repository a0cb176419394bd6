"""Charts of quantities over time."""

from collections.abc import Callable

import numpy as np
from bokeh.models import ColumnDataSource, Scatter, VArea
from bokeh.models import Line as LineGlyph
from bokeh.models.renderers import DataRenderer

from lightning_gen.report.charts import Plot, coloured, hover, new_plot, thousands
from lightning_gen.report.history import AXES, BESIDE, PARTS, Chart, Line

SPAN = 50  # a larger ratio of the highest to the lowest value gets a logarithmic axis
MOST_DOTS = 60  # a line of more points has no dots
DASHES = {
    PARTS["eval"]: [],
    BESIDE["_train"]: [5, 3],
    BESIDE["_fake"]: [6, 3, 1, 3],
}  # of lines with dots, by their part
NAMES = {"step": "step", "images_seen": "images seen", "seconds": "seconds"}  # of `AXES`, for one point


def draw(chart: Chart, names: list[str], say: Callable[[str], str]) -> Plot:
    """The chart: lines with dots for what an evaluation measures, solid for held-out images; bands over seeds.

    Those of training images are dashed, those of samples dash-dotted. Dashed lines without dots are from training.

    Args:
        chart: one quantity.
        names: of the settings, by their number in `Line.group`.
        say: turns a text about images into one about what the runs are trained on.
    """
    plot = new_plot(AXES["step"], "", y_axis_type="log" if _logarithmic(chart) else "linear")
    thousands(plot)
    if chart.real is not None:
        _draw_real(plot, chart)
    drawn: list[DataRenderer] = [_draw_line(plot, line, names, say) for line in chart.lines]
    tips = [("", "@name"), ("", "@part"), ("value", "@value{%.4g}")]
    if all("low" in line.points for line in chart.lines):
        tips += [("seeds", "@low{%.4g} to @high{%.4g}")]
    there = [axis for axis in AXES if all(axis in line.points for line in chart.lines)]
    hover(plot, drawn, tips + [(say(NAMES[axis]), f"@{axis}{{0,0}}") for axis in there])
    return plot


def _draw_line(plot: Plot, line: Line, names: list[str], say: Callable[[str], str]) -> DataRenderer:
    evaluated = line.part in DASHES
    count = len(line.points["value"])
    columns = {name: values.astype(np.float32) for name, values in line.points.items()}
    said = {"name": [names[line.group]] * count, "part": [say(line.part)] * count}
    source = ColumnDataSource(columns | {"x": columns["step"]} | said)
    if "low" in columns:
        coloured(plot.add_glyph(source, VArea(x="x", y1="low", y2="high", fill_alpha=0.18)), line.group)
    width, dashes = (2, DASHES[line.part]) if evaluated else (1.2, [5, 3])
    glyph = LineGlyph(x="x", y="value", line_width=width, line_dash=dashes)
    drawn = plot.add_glyph(source, glyph)
    coloured(drawn, line.group)
    if evaluated and count <= MOST_DOTS:
        coloured(plot.add_glyph(source, Scatter(x="x", y="value", size=5)), line.group)
    return drawn


def _draw_real(plot: Plot, chart: Chart) -> None:
    """A line at the value of real images, as long as the others."""
    ends: dict[str, np.ndarray] = {}
    for axis in AXES:
        values = [line.points[axis] for line in chart.lines if axis in line.points]
        if len(values) == len(chart.lines):
            ends[axis] = np.array([min(v.min() for v in values), max(v.max() for v in values)], dtype=np.float32)
    source = ColumnDataSource(ends | {"x": ends["step"], "value": np.full(2, chart.real, dtype=np.float32)})
    drawn = plot.add_glyph(source, LineGlyph(x="x", y="value", line_width=1.5, line_dash="dotted"))
    drawn.tags = [{"colour": "text"}]


def _logarithmic(chart: Chart) -> bool:
    values = np.concatenate([line.points["low" if "low" in line.points else "value"] for line in chart.lines])
    return bool(values.min() > 0 and values.max() / values.min() > SPAN)
