"""The pictures of run directories over time, embedded into the page."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BUDGET = 12 * 2**20  # bytes of all pictures on a page
MOST_STEPS = 25  # pictures of one kind and run
KINDS = {  # by folder: heading and what it shows, in the order of the page
    "samples": ("Samples", "Images that the model draws from the same random codes at every step."),
    "priors": ("Two priors", "Samples of the model's own prior, and of a mixture fitted to the codes of images."),
    "reconstructions": ("Reconstructions", "Held-out images with their reconstructions."),
    "interpolations": ("Interpolations", "From one code to another in equal parts, along each row."),
    "traversals": ("Traversals", "One number of the code changes along a row; the others stay."),
    "categories": ("Categories", "One value of the categorical code per column."),
    "field": ("Discriminator", "What the discriminator says in the plane, with samples and real points."),
    "latents": ("Codes", "The codes of held-out images in the plane, coloured by class if there are labels."),
    "plane": ("Latent plane", "Images decoded over the plane of the codes."),
    "neighbours": ("Nearest training images", "Samples with their nearest training images: copies would be equal."),
    "kl_per_dimension": ("KL divergence", "How much each number of the code says about the image, in nats."),
}


@dataclass
class Album:
    """One kind of picture: for each run, the files by step."""

    kind: str
    title: str
    text: str
    files: list[dict[int, Path]]


def albums(runs: Sequence[Path]) -> list[Album]:
    """The kinds of pictures that these runs have, known ones first."""
    there = {run: {path.parent.name for path in run.glob("*/step_*.png")} for run in runs}
    kinds = sorted(set().union(*there.values()), key=lambda kind: ([*KINDS, kind].index(kind), kind))
    found = []
    for kind in kinds:
        title, text = KINDS.get(kind, (kind.replace("_", " ").capitalize(), ""))
        found.append(Album(kind, title, text, [_by_step(run / kind) for run in runs]))
    return found


def thinned(found: Sequence[Album]) -> tuple[list[Album], bool]:
    """The albums with so few steps, chosen evenly up to the last one, that they fit on the page.

    The second value says whether any step is left out.
    """
    files = [album_files for album in found for album_files in album.files]
    for most in (MOST_STEPS, 16, 10, 6, 3, 2, 1):
        kept = [_evenly(steps, most) for steps in files]
        if sum(path.stat().st_size for steps in kept for path in steps.values()) <= BUDGET:
            break
    parts = iter(kept)
    fewer = [Album(album.kind, album.title, album.text, [next(parts) for _ in album.files]) for album in found]
    return fewer, kept != files


def embedded(album: Album) -> list[list[tuple[int, str]]]:
    """For each run, steps and pictures as data URIs."""
    return [[(step, _data_uri(path)) for step, path in sorted(files.items())] for files in album.files]


def _by_step(folder: Path) -> dict[int, Path]:
    matches = ((re.fullmatch(r"step_(\d+)\.png", path.name), path) for path in sorted(folder.glob("step_*.png")))
    return {int(match[1]): path for match, path in matches if match and _is_picture(path)}


def _is_picture(path: Path) -> bool:
    """Whether it is a PNG file: a run directory from a stranger could link to another file of the reader's."""
    try:
        with open(path, "rb") as file:
            return path.is_file() and file.read(8) == b"\x89PNG\r\n\x1a\n"
    except OSError:
        return False


def _evenly(files: dict[int, Path], most: int) -> dict[int, Path]:
    steps = sorted(files)
    if len(steps) <= most:
        return files
    places = {round((index + 1) * len(steps) / most) - 1 for index in range(most)}
    return {step: files[step] for place, step in enumerate(steps) if place in places}


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
