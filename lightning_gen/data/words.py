"""What the data are called in texts: images, points in the plane, or rows of a table."""

import re

from lightning_gen.networks.shapes import ImageShape, is_vector

IMAGES, POINTS, ROWS = "images", "points", "rows"
_WORDS = re.compile(r"(?<![.\w-])(?:an (?=image))?(images?|pixels?)\b(?!=)", re.IGNORECASE)


def unit_of(image_shape: ImageShape, is_table: bool) -> str:
    """What is counted in data of this shape: `images`, `points` or `rows`."""
    if is_table:
        return ROWS
    return POINTS if is_vector(image_shape) else IMAGES


def worded(text: str, unit: str) -> str:
    """A text about images as one about `unit`: pixels become values. Names such as `images_seen` stay."""
    if unit == IMAGES:
        return text

    def other(found: re.Match[str]) -> str:
        word = found[1].lower()
        new = ("values" if word.startswith("pixel") else unit).removesuffix("" if word.endswith("s") else "s")
        new = "a " + new if found[0] != found[1] else new
        return new.capitalize() if found[0][0].isupper() else new

    return _WORDS.sub(other, text)
