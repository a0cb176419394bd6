"""How charts look: Bokeh figures, whose colours page.js takes from the page, and their form as JSON."""

from typing import Any

from bokeh.embed import json_item
from bokeh.models import BasicTicker, HoverTool, NumeralTickFormatter
from bokeh.models.renderers import DataRenderer, GlyphRenderer
from bokeh.plotting import figure

COLOURS = 8  # that page.css defines: --c0 to --c7
GREY = -1  # the colour of what stands behind
SMALL, LARGE = 220, 340  # pixels of height

Plot = figure
Item = dict[str, Any]  # what `Bokeh.embed.embed_item` takes


def new_plot(x: str, y: str, height: int = SMALL, **options: Any) -> Plot:
    """An empty chart, as wide as its place on the page, with these labels."""
    plot = figure(
        height=height,
        min_width=200,
        sizing_mode="stretch_width",
        tools="box_zoom,pan,reset,save",
        active_drag="box_zoom",
        toolbar_location="above",
        **options,
    )
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None  # the page shows through
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.xaxis.axis_label, plot.yaxis.axis_label = x, y
    plot.xaxis.minor_tick_line_color = plot.yaxis.minor_tick_line_color = None
    return plot


def thousands(plot: Plot) -> None:
    """Write 10k in place of 10,000 along the x-axis."""
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    plot.xaxis.ticker = BasicTicker(desired_num_ticks=5)


def coloured(renderer: GlyphRenderer, colour: int) -> None:
    """Let page.js draw it in the colour of this number."""
    renderer.tags = [{"colour": colour if colour == GREY else colour % COLOURS}]


def hover(plot: Plot, renderers: list[DataRenderer], tooltips: list[tuple[str, str]], **options: Any) -> None:
    """Show these values where the pointer is."""
    formats: Any = {f"@{name}": "printf" for name in ("value", "low", "high")}  # %.4g
    plot.add_tools(HoverTool(renderers=renderers, tooltips=tooltips, formatters=formats, **options))


def as_item(plot: Plot) -> Item:
    """The chart as JSON."""
    return json_item(plot)  # type: ignore[return-value]
