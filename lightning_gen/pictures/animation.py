"""Pictures of the same thing at many steps as one animation."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lightning_gen.files import write_atomically

MOST_FRAMES, MOST_BYTES = 60, 1_900_000
SECONDS, SLOWEST, LAST = 6.0, 0.7, 2.5  # of all frames, the longest of a frame, and the last one


def animate(folder: Path) -> Path | None:
    """Write progress.webp, an animation of the folder's step_*.png, and return its path; None if there are not two.

    It has at most 60 frames, evenly chosen, and at most 1.9 MB, unless the first and the last alone have more.
    Pictures of another size than the last one, which an earlier version of this package drew, are left out.
    """
    found = sorted(folder.glob("step_*.png"))
    size = Image.open(found[-1]).size if found else None
    found = [path for path in found if Image.open(path).size == size]
    if len(found) < 2:
        return None
    paths = spread(found, MOST_FRAMES)
    animation = _encoded(paths)
    while len(animation) > MOST_BYTES and len(paths) > 2:  # more than once where the frames kept are the large ones
        paths = spread(paths, max(MOST_BYTES * len(paths) // len(animation), 2))
        animation = _encoded(paths)
    path = folder / "progress.webp"
    write_atomically(path, animation)
    return path


def spread(items: Sequence[Path], most: int) -> list[Path]:
    """At most `most` of the items, 2 or more, at equal distances, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _encoded(paths: Sequence[Path]) -> bytes:
    each = round(1000 * min(SECONDS / len(paths), SLOWEST))
    durations = [each] * (len(paths) - 1) + [round(1000 * LAST)]
    file, (first, *rest) = io.BytesIO(), [Image.open(path).convert("RGB") for path in paths]
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=durations, loop=0, quality=60, method=2)
    return file.getvalue()
