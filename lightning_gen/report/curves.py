"""Charts of quantities over time."""

import numpy as np
from bokeh.models import ColumnDataSource

from lightning_gen.report.charts import Plot, coloured, hover, new_plot, thousands
from lightning_gen.report.history import AXES, PARTS, Chart, Line

SPAN = 50  # a larger ratio of the highest to the lowest value gets a logarithmic axis
SHOWN = {"step": "step", "images_seen": "images seen", "seconds": "seconds"}


def draw(chart: Chart, names: list[str]) -> Plot:
    """The chart: solid lines with dots for held-out images, dashed ones for training, bands over seeds.

    Args:
        chart: one quantity.
        names: of the settings, by their number in `Line.group`.
    """
    plot = new_plot(AXES["step"], "", y_axis_type="log" if _logarithmic(chart) else "linear")
    thousands(plot)
    if chart.real is not None:
        _draw_real(plot, chart)
    for line in chart.lines:
        _draw_line(plot, line, names)
    return plot


def _draw_line(plot: Plot, line: Line, names: list[str]) -> None:
    held_out = line.part == PARTS["eval"]
    count = len(line.points["value"])
    columns = {name: values.astype(np.float32) for name, values in line.points.items()}
    source = ColumnDataSource(
        columns | {"x": columns["step"], "name": [names[line.group]] * count, "part": [line.part] * count}
    )
    if "low" in columns:
        band = plot.varea(x="x", y1="low", y2="high", source=source, fill_alpha=0.18)
        coloured(band, line.group)
    drawn = plot.line("x", "value", source=source, line_width=2, line_dash="solid" if held_out else [5, 3])
    coloured(drawn, line.group)
    if held_out and count <= 60:
        coloured(plot.scatter("x", "value", source=source, size=5), line.group)
    tips = [("", "@name"), ("", "@part"), ("value", "@value{%.4g}")]
    tips += [("seeds", "@low{%.4g} to @high{%.4g}")] if "low" in columns else []
    tips += [(SHOWN[axis], f"@{axis}{{0,0}}") for axis in AXES if axis in columns]
    hover(plot, [drawn], tips)


def _draw_real(plot: Plot, chart: Chart) -> None:
    """A line at the value of real images, as long as the others."""
    ends: dict[str, np.ndarray] = {}
    for axis in AXES:
        values = [line.points[axis] for line in chart.lines if axis in line.points]
        if len(values) == len(chart.lines):
            ends[axis] = np.array([min(v.min() for v in values), max(v.max() for v in values)], dtype=np.float32)
    source = ColumnDataSource(ends | {"x": ends["step"], "value": np.full(2, chart.real, dtype=np.float32)})
    drawn = plot.line("x", "value", source=source, line_width=1.5, line_dash="dotted")
    drawn.tags = [{"colour": "text"}]
    hover(plot, [drawn], [("", "real images"), ("value", "@value{%.4g}")])


def _logarithmic(chart: Chart) -> bool:
    values = np.concatenate([line.points["low" if "low" in line.points else "value"] for line in chart.lines])
    return bool(values.min() > 0 and values.max() / values.min() > SPAN)
