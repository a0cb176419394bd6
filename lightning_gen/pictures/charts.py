"""Charts with matplotlib: bars, points in the plane with a discriminator's field, and scatter plots of codes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

COLOURS = (  # ten that people with a colour-vision deficiency can tell apart (Petroff 2021, arXiv:2107.02270)
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "o^sDvP*X"  # another one for every ten classes
BLUE, PALE_ORANGE = COLOURS[0], "#ffc164"
DPI = 100
WIDTH = 7.6  # inches
MOST_IN_LEGEND = 20  # classes; of more, only the names among the points are shown
LINE = 0.24  # inches from one line of text to the next
LETTERS_PER_LINE = 74  # of a title
LEFT, RIGHT, BOTTOM = 0.8, 0.2, 0.65  # inches around the axes: a layout that matplotlib finds takes longer to draw


def figure(title: str, heading: str, height: float, right: float = RIGHT, top: float = 0.0) -> tuple[Figure, Axes]:
    """A figure with a title, a heading below it, and axes of this height; all in inches.

    `right`, `top`: room for a legend beside or above the axes.
    """
    made = titled(title, heading, BOTTOM + height + top)
    total = made.get_figheight()
    place = (LEFT / WIDTH, BOTTOM / total, (WIDTH - LEFT - right) / WIDTH, height / total)
    axes = made.add_axes(place)
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


def titled(title: str, heading: str, height: float) -> Figure:
    """A figure with a title and a heading, and room of this height in inches below them."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    lines = [*textwrap.wrap(title, LETTERS_PER_LINE), *textwrap.wrap(heading, int(1.1 * LETTERS_PER_LINE))]
    bold = len(textwrap.wrap(title, LETTERS_PER_LINE))
    total = height + LINE * len(lines) + LINE
    made = Figure(figsize=(WIDTH, total), dpi=DPI)
    for index, line in enumerate(lines):
        style: dict[str, Any] = {"size": 12, "weight": "bold"} if index < bold else {"size": 10, "color": "#5a5a5a"}
        made.text(0.12 / WIDTH, 1 - (0.12 + LINE * index) / total, line, va="top", **style)
    return made


def rendered(made: Figure) -> Image.Image:
    """The figure as an RGB picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(made)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def array(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


@dataclass(frozen=True)
class Bars:
    """A bar chart of values [N], each with its name."""

    values: Tensor
    names: Sequence[str]
    title: str
    xlabel: str
    ylabel: str

    def draw(self, heading: str = "") -> Image.Image:
        made, axes = figure(self.title, heading, height=2.8)
        places, upright = range(len(self.names)), sum(map(len, self.names)) > 2 * LETTERS_PER_LINE / 3
        axes.bar(places, array(self.values), color=BLUE)
        axes.set(xlabel=self.xlabel, ylabel=self.ylabel, xlim=(-0.6, len(self.names) - 0.4))
        axes.set_xticks(places, self.names, size=8, rotation=90 if upright else 0)
        return rendered(made)


@dataclass(frozen=True)
class Points:
    """Points in the unit square: sets by name, each [N, 2], drawn in this order with a legend.

    `reference`: real points [N, 2], drawn larger behind the others. `field`: a discriminator's logits [S, S] on a
    grid over the square, first row at the bottom, as a background.
    """

    sets: Mapping[str, Tensor]
    title: str
    reference: Tensor | None = None
    field: Tensor | None = None

    def draw(self, heading: str = "") -> Image.Image:
        side = 5.4
        made, axes = figure(self.title, heading, height=side, right=WIDTH - LEFT - side, top=LINE)
        limits = (-0.025, 1.025)  # points on the edge are shown whole
        axes.set(xlim=limits, ylim=limits, xlabel="x, scaled to [0, 1]", ylabel="y, scaled to [0, 1]")
        if self.field is not None:
            self._draw_field(made, axes, self.field)
        if self.reference is not None:  # large, so that it shows around what covers it
            _dots(axes, array(self.reference), s=110, color=PALE_ORANGE, label="real points")
        for index, (name, points) in enumerate(self.sets.items()):
            colour = COLOURS[index % 10] if self.field is None else "black"
            _dots(axes, array(points), s=8, alpha=0.5 if len(points) > 500 else 1, color=colour, label=name)
        place: Any = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0, "frameon": False}
        if len(self.sets) > 1 or self.reference is not None:
            _opaque(axes.legend(**place, ncols=4, fontsize=10, handletextpad=0.2, columnspacing=1.5))
        return rendered(made)

    @staticmethod
    def _draw_field(made: Figure, axes: Axes, field: Tensor) -> None:
        values = array(field)
        limit = max(float(np.abs(values).max()), 1e-6)  # white is 0: the discriminator is undecided
        extent = (0.0, 1.0, 0.0, 1.0)
        limits = (axes.get_xlim(), axes.get_ylim())
        drawn = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, origin="lower", extent=extent)
        axes.set(xlim=limits[0], ylim=limits[1])
        bar = made.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.035, 1)), ticks=[-limit, 0, limit])
        bar.set_ticklabels(["generated", "undecided", "real"])


class Mosaic(NamedTuple):
    """Images [rows * columns, C, H, W] side by side over the rectangle (left, right, bottom, top) of a chart."""

    images: Tensor
    columns: int
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scatter:
    """Points [N, 2] with a colour, a marker and a name for each class, over an optional background of images."""

    points: Tensor
    title: str
    axes: tuple[str, str]  # what x and y are
    labels: Tensor | None = None
    classes: Sequence[str] = ()
    background: Mosaic | None = None

    def draw(self, heading: str = "") -> Image.Image:
        made, axes = figure(self.title, heading, height=5.8, right=RIGHT if self.labels is None else 1.7)
        axes.set(xlabel=self.axes[0], ylabel=self.axes[1])
        if self.background is not None:
            axes.imshow(faded(self.background), extent=self.background.extent, aspect="auto", interpolation="nearest")
            axes.set(xlim=self.background.extent[:2], ylim=self.background.extent[2:])  # not outliers
        points = array(self.points)
        size = min(max(20_000 / len(points), 4), 25 if self.background is None else 14)  # square points
        if self.labels is None:
            _dots(axes, points, s=size, alpha=0.7, color=BLUE)
            return rendered(made)
        labels = self.labels.cpu().numpy()
        for index, name in enumerate(self.classes):
            mine = points[labels == index]
            if len(mine):
                style: Any = {"color": COLOURS[index % 10], "marker": MARKERS[index // 10 % len(MARKERS)]}
                label = name if len(name) <= 18 else f"{name[:16]}..."
                _dots(axes, mine, s=size, alpha=0.7, label=label, **style)
                _name_at(axes, np.median(mine, axis=0), label)
        if len(self.classes) <= MOST_IN_LEGEND:
            place: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "borderaxespad": 0, "frameon": False}
            _opaque(axes.legend(**place, markerscale=(60 / size) ** 0.5, fontsize=10, handletextpad=0.3))
        return rendered(made)


def faded(mosaic: Mosaic) -> np.ndarray:
    """The images of a mosaic as one, [H, W, 3] in [0, 1], pale and on white, so that points on it can be seen."""
    images = array(mosaic.images).clip(0, 1).transpose(0, 2, 3, 1)  # [N, H, W, C]
    rows, (height, width, channels) = len(images) // mosaic.columns, images.shape[1:]
    blocks = images.reshape(rows, mosaic.columns, height, width, channels).swapaxes(1, 2)
    whole = blocks.reshape(rows * height, mosaic.columns * width, channels)
    if channels == 1 and whole.mean() < 0.5:  # bright strokes on black
        whole = 1 - whole
    return np.broadcast_to(1 - 0.5 * (1 - whole), (*whole.shape[:2], 3))


def _dots(axes: Axes, points: np.ndarray, **style: Any) -> None:
    x, y = points.T
    axes.scatter(x, y, linewidths=0, **style)


def _name_at(axes: Axes, place: np.ndarray, name: str) -> None:
    """Write the name of a class among its points: colours alone are hard to tell apart."""
    from matplotlib.patheffects import withStroke

    style: Any = {"size": 11, "weight": "bold", "ha": "center", "va": "center", "clip_on": True}
    x, y = place
    axes.text(x, y, name, path_effects=[withStroke(linewidth=3, foreground="white")], **style)


def _opaque(legend: Legend) -> None:
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
