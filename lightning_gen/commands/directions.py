"""lightning-gen directions: directions in the latent space of a model, as strips; images edited along them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from lightning_gen.commands.terminal import console
from lightning_gen.config.build import build_data
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.direction_pictures import SAMPLES, edits, strips
from lightning_gen.evaluation.directions import Directions, find_directions, known_factors
from lightning_gen.evaluation.factor_agreement import FactorAgreement, factor_agreement
from lightning_gen.evaluation.given_images import given_images
from lightning_gen.evaluation.headings import heading
from lightning_gen.evaluation.inversion import Search, invert
from lightning_gen.evaluation.latent_space import LatentSpace, points_of, space_of
from lightning_gen.files import shortest, write_atomically
from lightning_gen.pictures import Grid, save_picture
from lightning_gen.progress import progress
from lightning_gen.randomness import mix
from lightning_gen.runs.loading import load_image_model
from lightning_gen.runs.run import Run

MOST_EDITED = 12  # images in a picture


@dataclass(frozen=True)
class Options:
    """The options of the command.

    Attributes:
        method: one of `METHODS` in evaluation/directions.py.
        count: the number of directions.
        direction: the name of the one along which images are edited; None: all, one after the other.
        strength: how far samples and images move, in standard deviations of the codes.
        seed: of the samples.
        checkpoint: best, last, or the path of a checkpoint.
        out: the folder to write to; None: RUN/directions.
    """

    method: str = "sefa"
    count: int = 8
    direction: str | None = None
    strength: float = 3.0
    seed: int = 0
    checkpoint: str = "best"
    out: Path | None = None


@dataclass(frozen=True)
class Target:
    """Where files are written, and the line below the title of pictures."""

    folder: Path
    line: str

    @contextmanager
    def written(self) -> Iterator[None]:
        """Inside, an error of the file system is told in one line."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}): choose another folder with --out."
            ) from error

    def draw(self, grid: Grid, path: Path) -> None:
        with self.written():
            save_picture(grid.draw(self.line), path)
        console().print(f"picture    {shortest(path)}")


def directions_of_run(run_dir: Path, images: Sequence[Path], how: Options) -> Directions:
    """Find directions, print a table and write METHOD.npz, METHOD.json and METHOD.png into RUN/directions.

    With images or a direction, edits images instead, into METHOD_edited.png: see `edits`.

    Raises:
        UserError: the method is not possible for this model or these data, or images that cannot be used.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    with progress(None, "setting up data and model"):
        data, model = build_data(run.config), load_image_model(run, how.checkpoint)
        space = space_of(model)
    with progress(None, f"finding directions by {how.method}"):
        found = find_directions(space, data, how.method, how.count, how.seed)
    to = Target(
        run.path / "directions" if how.out is None else how.out, heading(model, data.dataset, model.step_loaded)
    )
    if images or how.direction is not None:
        _edit(space, data, found, images, how, to)
    else:
        _show(space, data, found, how, to)
    return found


def _show(space: LatentSpace, data: ImageDataModule, found: Directions, how: Options, to: Target) -> None:
    """Print the directions, and write the files."""
    agreement, known = None, known_factors(data)
    if known is not None and len(found.names) >= len(known.ordered):
        with progress(None, "comparing directions with the known factors"):
            agreement = factor_agreement(space, data, found, known, how.seed)
    console().print(_table(found, agreement))
    console().print(_legend(found, agreement))
    if agreement is not None:
        console().print(_agreement_lines(found, agreement))
    entry = _entry(found, agreement, space, how)
    path = to.folder / how.method
    with to.written():
        found.save(path.with_suffix(".npz"))
        write_atomically(path.with_suffix(".json"), json.dumps(entry, indent=2) + "\n")
    console().print(f"directions {shortest(path.with_suffix('.npz'))}, with {path.stem}.json")
    points, labels, _ = points_of(space, data, SAMPLES, mix(how.seed, 0), test=True)
    to.draw(strips(space, found, points, labels, how.strength), path.with_suffix(".png"))


def _edit(
    space: LatentSpace, data: ImageDataModule, found: Directions, paths: Sequence[Path], how: Options, to: Target
) -> None:
    """Move given images, or the first test images, along one direction or each of them."""
    chosen = None if how.direction is None else found.index(how.direction)
    images, labels, names = given_images(paths, data)
    if len(images) > MOST_EDITED:
        console().print(f"hint: of {len(images)} images the first {MOST_EDITED} are edited.")
        images, names = images[:MOST_EDITED], names[:MOST_EDITED]
    points, given = _points_of_images(space, images, labels, how.seed)
    grid = edits(space, found, images, points, given, names, how.strength, chosen)
    to.draw(grid, to.folder / f"{how.method}_edited.png")


def _points_of_images(
    space: LatentSpace, images: Tensor, labels: Tensor | None, seed: int
) -> tuple[Tensor, Tensor | None]:
    """The codes of given images, and the labels that the model needs: by the encoder, or of a GAN by inversion."""
    if not space.encodes:
        search = Search()
        with progress(search.steps * search.restarts * len(images), "inverting the images", "steps") as advance:
            inverted = invert(space, images, search, seed=seed, advance=advance)
        return inverted.points, inverted.labels
    model = space.model
    needed = labels.to(model.device) if labels is not None and model.num_classes else None
    if model.num_classes and needed is None:
        raise UserError("This model needs the classes of images, which files do not have: omit the files.")
    with torch.no_grad():
        return model.encode(images.to(next(model.parameters())), needed).float(), needed


def _table(found: Directions, agreement: FactorAgreement | None) -> Table:
    """A row for each direction: how important it is, and how well it agrees with each known factor."""
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column("direction", no_wrap=True)
    columns = ["distance" if found.method == "classes" else "share", "deviation"]
    for column in [*columns, *(() if agreement is None else agreement.factors)]:
        table.add_column(column, justify="right", no_wrap=True)
    for index, name in enumerate(found.names):
        values: list[Tensor] = [found.importance[index], found.deviations[index]]
        values += [] if agreement is None else list(agreement.table[index])
        table.add_row(name, *(f"{float(value):.3f}" for value in values))
    return table


def _legend(found: Directions, agreement: FactorAgreement | None) -> str:
    """What the columns of the table are."""
    what = "distance: of the means" if found.method == "classes" else f"share: {found.importance_name}"
    line = f"{what}; deviation: of the codes along the direction, which is the unit of a step"
    return line if agreement is None else f"{line}; the others: agreement with the known factors, from 0 to 1"


def _agreement_lines(found: Directions, agreement: FactorAgreement) -> str:
    """What the comparison with the known factors has found."""
    pairs = zip(agreement.factors, *agreement.matching, strict=True)
    lines = [f"{name}: direction {found.names[d]}, agreement {a:.2f}, gap {g:.2f}" for name, d, a, g in pairs]
    for whose, (mean, gap) in {"mean": agreement.mean, "random directions": agreement.mean_of_random}.items():
        lines.append(f"{whose}: agreement {mean:.2f}, gap {gap:.2f}")
    return "\n".join(["", *lines, ""])


def _entry(found: Directions, agreement: FactorAgreement | None, space: LatentSpace, how: Options) -> dict[str, Any]:
    """The content of METHOD.json."""
    entry: dict[str, Any] = {"method": found.method, "space": space.name, "names": list(found.names)}
    entry |= {"importance": found.importance.tolist(), "importance_is": found.importance_name}
    entry |= {"deviations": found.deviations.tolist()}
    if agreement is not None:
        entry["factors"] = agreement.as_record()
    entry |= {"checkpoint": how.checkpoint, "step": space.model.step_loaded, "ema": space.model.averaged}
    return entry | {"seed": how.seed}
