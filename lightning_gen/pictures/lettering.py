"""Text in pictures: fonts, line breaks and abbreviations."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> Font:
    """DejaVu Sans, which comes with matplotlib, so that grids and charts have one font; its size is in pixels.

    The file is found without an import of matplotlib, which takes a second. Pillow's own font, for an installation
    that keeps the file elsewhere, has letters without accents only.
    """
    spec = find_spec("matplotlib")
    for folder in spec.submodule_search_locations or () if spec else ():
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def wrapped(text: str, width: float, letters: Font) -> list[str]:
    """The lines of `text`, broken between words, each at most `width` pixels wide."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shortened(text: str, width: float, letters: Font) -> str:
    """`text`, or its beginning and three dots if it is wider than `width` pixels."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..."
