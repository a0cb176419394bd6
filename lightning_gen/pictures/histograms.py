"""Histograms of several numbers or categories of images or rows, in two groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lightning_gen.pictures.charts import COLOURS, DPI, LINE, WIDTH, array, rendered

COLUMNS, PANEL = 2, 1.9  # panels in a row; height of one in inches
FEWEST_BINS, BINS = 10, 60  # the square root of the number of values, within these
MOST_NAMES = 6  # of categories below a panel
SHOWN = (0.005, 0.995)  # quantiles: a few extreme values would leave no room for the others


@dataclass(frozen=True)
class Histograms:
    """A panel for each number, in it a histogram of equal area for each of two groups of images or rows.

    Args:
        groups: the values [N] of each group, by the number's name and then by the group's; of categories, their
            positions in `categories`.
        title: what the picture shows.
        axes: what is on the axis of a number, such as its unit.
        categories: the names of the categories, for those of `groups` that are categories: their bars show shares.
    """

    groups: Mapping[str, Mapping[str, Tensor]]
    title: str
    axes: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def draw(self, heading: str = "") -> Image.Image:
        from matplotlib.figure import Figure  # not pyplot: no global state, no display

        columns = min(COLUMNS, len(self.groups))
        rows, head = math.ceil(len(self.groups) / columns), 0.2 + 3 * LINE
        height = rows * (PANEL + 0.75) + head
        made = Figure(figsize=(WIDTH, height), dpi=DPI)
        made.text(0.12 / WIDTH, 1 - 0.12 / height, self.title, va="top", size=12, weight="bold")
        made.text(0.12 / WIDTH, 1 - (0.12 + LINE) / height, heading, va="top", size=10, color="#5a5a5a")
        panels = made.subplots(rows, columns, squeeze=False).flatten()
        for axes, (name, groups) in zip(panels, self.groups.items(), strict=False):
            values = {group: array(its) for group, its in groups.items()}
            drawn = _bars(axes, values, self.categories[name]) if name in self.categories else _panel(axes, values)
            axes.set_title(name, size=10, loc="left")
            axes.set_xlabel(self.axes.get(name, ""), size=8)
        for axes in panels[len(self.groups) :]:
            axes.set_visible(False)
        place: Any = {"loc": "upper left", "bbox_to_anchor": (0.0, 1 - (0.1 + 1.9 * LINE) / height)}
        made.legend(*drawn, **place, ncols=2, frameon=False, fontsize=10)
        made.subplots_adjust(left=0.03, right=0.97, bottom=0.55 / height, top=1 - (head + 0.3) / height, hspace=0.55)
        made.subplots_adjust(wspace=0.08)
        return rendered(made)


def _bars(axes: Any, groups: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[list[Any], list[str]]:
    """The shares of categories, side by side; their handles and names for the legend."""
    handles, width = [], 0.8 / len(groups)
    for index, (values, colour) in enumerate(zip(groups.values(), (COLOURS[0], COLOURS[2]), strict=False)):
        shares = np.bincount(values.astype(int), minlength=len(names)) / max(len(values), 1)
        places = np.arange(len(names)) + (index - (len(groups) - 1) / 2) * width
        handles.append(axes.bar(places, shares, width, color=colour, alpha=0.55, linewidth=0))
    short = [name if len(name) <= 12 else f"{name[:10]}..." for name in names]
    step = -(-len(names) // MOST_NAMES)
    axes.set_xticks(range(0, len(names), step), short[::step])
    _plain(axes)
    return handles, list(groups)


def _plain(axes: Any) -> None:
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _panel(axes: Any, groups: Mapping[str, np.ndarray]) -> tuple[list[Any], list[str]]:
    """The histograms of one number; their handles and names for the legend."""
    together = np.concatenate(list(groups.values()))
    together = together[np.isfinite(together)]
    low, high = np.quantile(together, SHOWN) if len(together) else (0.0, 1.0)
    bins = min(BINS, max(FEWEST_BINS, round(min(map(len, groups.values())) ** 0.5)))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    handles = []
    for (_, values), colour in zip(groups.items(), (COLOURS[0], COLOURS[2]), strict=False):
        inside = values[np.isfinite(values)].clip(edges[0], edges[-1])  # the outermost bins hold what is beyond
        handles.append(axes.hist(inside, edges, density=True, color=colour, alpha=0.55, linewidth=0)[2])
    _plain(axes)
    return handles, list(groups)
