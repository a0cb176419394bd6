"""The pictures of an evaluation as single pixels: drawing them takes half the time of a tiny run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from lightning_gen.training.callbacks.evaluation import Evaluation

save_drawn = Evaluation._save_pictures


class Pixel:
    """A picture of one pixel."""

    def draw(self, heading: str = "") -> Image.Image:
        return Image.new("L", (1, 1))


def save_pixels(evaluation: Evaluation, trainer: Any, model: Any, pictures: dict[str, Any]) -> None:
    save_drawn(evaluation, trainer, model, dict.fromkeys(pictures, Pixel()))


def draw_pixels() -> None:
    """From here on, trainings in this process save a pixel under the name of each of their pictures."""
    Evaluation._save_pictures = save_pixels  # type: ignore[method-assign]


@contextmanager
def drawn_pictures() -> Iterator[None]:
    """The pictures that users get."""
    Evaluation._save_pictures = save_drawn  # type: ignore[method-assign]
    try:
        yield
    finally:
        draw_pixels()
