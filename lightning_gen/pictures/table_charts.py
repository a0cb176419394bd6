"""Charts of tables: the distribution of each column, and how the columns depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from lightning_gen.pictures.charts import BLUE, LINE, PALE_ORANGE, WIDTH, array, rendered, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLUMNS = 24  # of a table; the first ones are shown
MOST_CATEGORIES = 10  # of a column; the most frequent real ones are shown
PER_ROW, PANEL = 4, 1.5  # panels in a row, and the height of one in inches
BINS = 24
NAMES = 32  # columns of a matrix whose names are written


@dataclass(frozen=True)
class Marginals:
    """Each column's distribution among real and generated rows: histograms of numbers, frequencies of categories.

    `real`, `fake`: the values of each column by name, numbers or text.
    """

    real: Mapping[str, np.ndarray]
    fake: Mapping[str, np.ndarray]
    title: str

    def draw(self, heading: str = "") -> Image.Image:
        names = list(self.real)[:MOST_COLUMNS]
        hidden = len(self.real) - len(names)
        title = self.title + (f" (the first {len(names)} of {len(self.real)} columns)" if hidden else "")
        columns = min(PER_ROW, len(names))
        rows = -(-len(names) // columns)
        height = rows * PANEL + LINE  # with the legend
        made = titled(title, heading, height)
        inches = made.get_figheight()
        sides: dict[str, Any] = {"left": 0.12 / WIDTH, "right": 1 - 0.12 / WIDTH, "bottom": 0.42 / inches}
        space = {"top": (height - 1.6 * LINE) / inches, "hspace": 0.85, "wspace": 0.12}
        panels = made.subplots(rows, columns, squeeze=False, gridspec_kw={**sides, **space}).ravel()
        for panel, name in zip(panels, names, strict=False):
            numeric = self.real[name].dtype.kind in "iuf"
            (_histograms if numeric else _frequencies)(panel, self.real[name], self.fake[name])
            panel.set_title(_short(name, 26), size=8, pad=3)
            panel.set_yticks([])
            panel.tick_params(axis="x", labelsize=7, length=2, pad=1)
            panel.spines[["top", "right", "left"]].set_visible(False)
        for panel in panels[len(names) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        place: Any = {"loc": "lower left", "bbox_to_anchor": (0, (height - 1.1 * LINE) / inches), "frameon": False}
        made.legend(handles, labels, ncols=2, fontsize=9, borderaxespad=0.2, **place)
        return rendered(made)


@dataclass(frozen=True)
class Correlations:
    """Two matrices [C, C] from -1 to 1 side by side, that of real rows and that of generated ones."""

    real: Tensor
    fake: Tensor
    names: Sequence[str]
    title: str

    def draw(self, heading: str = "") -> Image.Image:
        named, size = len(self.names) <= NAMES, 7 if len(self.names) <= 16 else 5
        longest = max(len(_short(name)) for name in self.names) if named else 0
        margin = 0.2 + 0.0095 * size * longest  # left and below, in inches
        side = (WIDTH - margin - 1.0) / 2
        height = side + margin + 0.15
        made = titled(self.title, heading, height)
        inches = made.get_figheight()
        for index, (name, matrix) in enumerate((("real", self.real), ("generated", self.fake))):
            left = margin + index * (side + 0.15)
            axes = made.add_axes((left / WIDTH, margin / inches, side / WIDTH, side / inches))
            drawn = axes.imshow(array(matrix), cmap="RdBu_r", vmin=-1, vmax=1)
            axes.set_title(name, size=10)
            ticks = range(len(self.names) if named else 0)
            labels = [_short(self.names[i]) for i in ticks]
            axes.set_xticks(ticks, labels, rotation=90, size=size)
            axes.set_yticks(ticks, [] if index else labels, size=size)
        bar = (margin + 2 * side + 0.25) / WIDTH
        scale = made.add_axes((bar, margin / inches, 0.12 / WIDTH, side / inches))
        made.colorbar(drawn, cax=scale, ticks=[-1, 0, 1]).set_label("correlation", size=8, labelpad=0)
        return rendered(made)


def _histograms(panel: Axes, real: np.ndarray, fake: np.ndarray) -> None:
    """Shares of rows in equal bins over the range of the real values; the outer bins have what lies beyond it."""
    low, high = float(real.min()), float(real.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(np.clip(side, low, high), edges)[0] / len(side) for side in (real, fake)]
    panel.stairs(shares[0], edges, fill=True, color=PALE_ORANGE, label="real")
    panel.stairs(shares[1], edges, color=BLUE, linewidth=1.5, label="generated")
    panel.locator_params(axis="x", nbins=4)


def _frequencies(panel: Axes, real: np.ndarray, fake: np.ndarray) -> None:
    categories, counts = np.unique(real, return_counts=True)
    shown = sorted(categories[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES].tolist())
    shares = [[float(np.mean(side == category)) for category in shown] for side in (real, fake)]
    places = np.arange(len(shown))
    panel.bar(places, shares[0], width=0.8, color=PALE_ORANGE, label="real")
    panel.bar(places, shares[1], width=0.8, fill=False, edgecolor=BLUE, linewidth=1.5, label="generated")
    panel.set_xticks(places, [_short(str(category), 44 // len(shown)) for category in shown])


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: max(most - 2, 1)]}.."
