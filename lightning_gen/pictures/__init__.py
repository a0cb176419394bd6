"""Pictures for people: grids of images and charts, each with a title and words for what it shows.

A picture is data, such as a `Grid` or a `Bars`; its method `draw(heading)` makes the image. The heading says which
model it is of. So models name what they show, and how it looks is decided here.
"""

from typing import Protocol

from PIL import Image

from lightning_gen.pictures.animation import animate
from lightning_gen.pictures.charts import Bars, Mosaic, Points, Scatter
from lightning_gen.pictures.grid import Grid, grid
from lightning_gen.pictures.images import as_images, save_picture, to_float, to_picture, to_uint8


class Picture(Protocol):
    """What can be drawn, with a heading that says which model it is of."""

    def draw(self, heading: str = "") -> Image.Image: ...


__all__ = [
    "Bars",
    "Grid",
    "Mosaic",
    "Picture",
    "Points",
    "Scatter",
    "animate",
    "as_images",
    "grid",
    "save_picture",
    "to_float",
    "to_picture",
    "to_uint8",
]
