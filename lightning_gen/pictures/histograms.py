"""Histograms of several numbers of the same images, in two groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lightning_gen.pictures.charts import COLOURS, DPI, LINE, WIDTH, array, rendered

COLUMNS, PANEL = 2, 1.9  # panels in a row; height of one in inches
BINS = 60
SHOWN = (0.005, 0.995)  # quantiles: a few extreme values would leave no room for the others


@dataclass(frozen=True)
class Histograms:
    """A panel for each number, in it a histogram of equal area for each of two groups of images.

    Args:
        groups: the values [N] of each group, by the number's name and then by the group's.
        title: what the picture shows.
        axes: what is on the axis of a number, such as its unit.
    """

    groups: Mapping[str, Mapping[str, Tensor]]
    title: str
    axes: Mapping[str, str]

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
            drawn = _panel(axes, {group: array(values) for group, values in groups.items()})
            axes.set_title(name, size=10, loc="left")
            axes.set_xlabel(self.axes.get(name, ""), size=8)
        for axes in panels[len(self.groups) :]:
            axes.set_visible(False)
        place: Any = {"loc": "upper left", "bbox_to_anchor": (0.0, 1 - (0.1 + 1.9 * LINE) / height)}
        made.legend(*drawn, **place, ncols=2, frameon=False, fontsize=10)
        made.subplots_adjust(left=0.03, right=0.97, bottom=0.55 / height, top=1 - (head + 0.3) / height, hspace=0.55)
        made.subplots_adjust(wspace=0.08)
        return rendered(made)


def _panel(axes: Any, groups: Mapping[str, np.ndarray]) -> tuple[list[Any], list[str]]:
    """The histograms of one number; their handles and names for the legend."""
    together = np.concatenate(list(groups.values()))
    together = together[np.isfinite(together)]
    low, high = np.quantile(together, SHOWN) if len(together) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    handles = []
    for (_, values), colour in zip(groups.items(), (COLOURS[0], COLOURS[2]), strict=False):
        inside = values[np.isfinite(values)].clip(edges[0], edges[-1])  # the outermost bins hold what is beyond
        handles.append(axes.hist(inside, edges, density=True, color=colour, alpha=0.55, linewidth=0)[2])
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return handles, list(groups)
