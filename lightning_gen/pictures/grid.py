"""A grid of images with a title, named rows and columns, and captions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_gen.networks.shapes import POINTS
from lightning_gen.pictures.charts import Points
from lightning_gen.pictures.images import to_uint8
from lightning_gen.pictures.lettering import font, shortened, wrapped

WIDEST, TALLEST, NARROWEST = 900, 1000, 600  # pixels; a grid of large images may be wider and taller
LARGEST_SIDE = 200  # pixels; images are enlarged up to this side
MARGIN, GAP, BREAK = 12, 4, 8  # around the grid, between images, and in addition at a break
TITLE, HEADING, NAME = 20, 16, 13  # sizes of letters, which can be read in a picture at half its size
BLACK, GREY, FRAME = 0, 90, 150  # of 255
LONGEST = 140  # pixels for a name that stands beside a row or upright above a column; it is shortened to fit


class Text(NamedTuple):
    """A line of text at (x, y), which is the point of its `anchor` in Pillow's notation."""

    text: str
    x: float
    y: float
    anchor: str
    size: int
    colour: int = BLACK
    bold: bool = False
    upright: bool = False  # reads from the bottom to the top; (x, y) is then the middle of its lower end


class Layout(NamedTuple):
    """Where everything of a grid is: its size, the enlargement, corners of the images (x, y), and the texts."""

    width: int
    height: int
    factor: int
    corners: list[tuple[int, int]]
    texts: list[Text]


@dataclass(frozen=True)
class Grid:
    """Images [N, C, H, W], uint8 or float in [0, 1], `columns` in a row, and what they are.

    Small images are enlarged by a whole factor, without smoothing, so that the grid is 600 to 900 pixels wide.

    Args:
        images: row by row.
        columns: the number of images in a row.
        title: what the picture shows.
        column_names: a name above each column.
        row_names: a name to the left of each row.
        captions: a line below each image.
        column_breaks: the columns, counted from 0, that have a wider gap before them.
        row_breaks: the same for rows.
    """

    images: Tensor
    columns: int
    title: str = ""
    column_names: Sequence[str] = ()
    row_names: Sequence[str] = ()
    captions: Sequence[str] = ()
    column_breaks: Collection[int] = ()
    row_breaks: Collection[int] = ()

    def draw(self, heading: str = "") -> Image.Image:
        """The picture, grey or RGB; `heading` is a line below the title.

        Points in the plane, [N, 1, 1, 2], are drawn as a scatter plot, each row name in another colour.
        """
        if tuple(self.images.shape[1:]) == POINTS:
            return self.as_points().draw(heading)
        layout = self.layout(heading)
        images = to_uint8(self.images.detach()).cpu().numpy().transpose(0, 2, 3, 1)  # [N, H, W, C]
        large = images.repeat(layout.factor, axis=1).repeat(layout.factor, axis=2)
        canvas = np.full((layout.height, layout.width, images.shape[-1]), 255, dtype=np.uint8)
        height, width = large.shape[1:3]
        for x, y in layout.corners:  # beside the white gap a grey frame, for images that are white at their edges
            canvas[y - 1 : y + height + 1, x - 1 : x + width + 1] = FRAME
        for image, (x, y) in zip(large, layout.corners, strict=True):
            canvas[y : y + height, x : x + width] = image
        picture = Image.fromarray(canvas[..., 0] if canvas.shape[-1] == 1 else canvas)
        for text in layout.texts:
            _write(picture, text)
        return picture

    def as_points(self) -> Points:
        """Images of two pixels as points in the plane: a set for each different name of a row."""
        rows = self.images.flatten(1).split(self.columns)
        names = list(self.row_names) or ["points"] * len(rows)
        parts = {name: [row for row, its in zip(rows, names, strict=False) if its == name] for name in names}
        return Points({name: torch.cat(found) for name, found in parts.items()}, self.title)

    def layout(self, heading: str = "") -> Layout:
        """Where the images and the texts are."""
        count, _, height, width = self.images.shape
        columns = min(self.columns, count)
        rows = -(-count // columns)
        scale = max(1.0, columns * width / WIDEST)  # large images get large letters
        letters = font(round(scale * NAME))
        beside = max((min(letters.getlength(name), scale * LONGEST) for name in self.row_names), default=-MARGIN)
        left = round(beside) + 2 * MARGIN
        gaps = GAP * (columns - 1) + BREAK * len(self.column_breaks)
        room = ((WIDEST - left - MARGIN - gaps) // (columns * width), TALLEST // (rows * height))
        factor = max(1, min(*room, LARGEST_SIDE // max(height, width)))
        right = left + factor * columns * width + gaps + MARGIN
        total = max(right, NARROWEST) if self.title or heading else right
        xs = _spaced(left + (total - right) // 2, columns, factor * width, self.column_breaks)
        texts, top = _header(self.title, heading, total, scale)
        above, top = _above(self.column_names, xs, factor * width, top, scale)
        line = round(1.4 * scale * NAME) if self.captions else 0
        ys = _spaced(top, rows, factor * height + line, self.row_breaks)
        corners = [(x, y) for y in ys for x in xs][:count]
        for name, y in zip(self.row_names, ys, strict=False):
            name = shortened(name, scale * LONGEST, letters)
            texts.append(Text(name, xs[0] - MARGIN, y + factor * height / 2, "rm", round(scale * NAME)))
        for name, (x, y) in zip(self.captions, corners, strict=False):
            name = shortened(name, factor * width, letters)
            below = (x + factor * width / 2, y + factor * height + 1)
            texts.append(Text(name, *below, "ma", round(scale * NAME)))
        return Layout(total, ys[-1] + factor * height + line + MARGIN, factor, corners, [*texts, *above])


def grid(images: Tensor, columns: int, title: str = "") -> Image.Image:
    """A picture of images [N, C, H, W], uint8 or float in [0, 1], `columns` in a row; small images are enlarged.

    Points in the plane, [N, 1, 1, 2], become a scatter plot.
    """
    return Grid(images, columns, title).draw()


def _spaced(start: int, count: int, side: int, breaks: Collection[int]) -> list[int]:
    """Where each of `count` images of this side begins."""
    wider = [BREAK * sum(place <= index for place in breaks) for index in range(count)]
    return [start + index * (side + GAP) + wider[index] for index in range(count)]


def _header(title: str, heading: str, width: int, scale: float) -> tuple[list[Text], int]:
    """The title and the heading, each on as many lines as it needs, and where the rest begins."""
    texts, y = [], MARGIN
    for text, size, bold in ((title, TITLE, True), (heading, HEADING, False)):
        size = round(scale * size)
        for line in wrapped(text, width - 2 * MARGIN, font(size, bold)):
            texts.append(Text(line, MARGIN, y, "la", size, BLACK if bold else GREY, bold))
            y += round(1.4 * size)
    return texts, y + (round(scale * MARGIN / 2) if texts else 0)


def _above(names: Sequence[str], xs: list[int], side: int, top: int, scale: float) -> tuple[list[Text], int]:
    """The names of columns, upright if one of them is wider than its column, and where the images begin."""
    if not names:
        return [], top
    size, most = round(scale * NAME), scale * LONGEST
    letters = font(size)
    longest = max(letters.getlength(name) for name in names)
    upright = longest > side
    y = top + (round(min(longest, most)) if upright else size) + 4
    texts = [
        Text(shortened(name, most, letters), x + side / 2, y, "ms", size, upright=upright)
        for name, x in zip(names, xs, strict=False)
    ]
    return texts, y + 6


def _write(picture: Image.Image, text: Text) -> None:
    letters = font(text.size, text.bold)
    colour = text.colour if picture.mode == "L" else (text.colour,) * 3
    if not text.upright:
        ImageDraw.Draw(picture).text((text.x, text.y), text.text, fill=colour, font=letters, anchor=text.anchor)
        return
    strip = Image.new("L", (round(letters.getlength(text.text)) + 2, round(1.4 * text.size)))
    ImageDraw.Draw(strip).text((0, 0), text.text, fill=255, font=letters)
    strip = strip.rotate(90, expand=True)
    corner = (round(text.x - strip.width / 2), round(text.y - strip.height))
    picture.paste(colour, corner, strip)
