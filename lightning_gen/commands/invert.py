"""lightning-gen invert: the codes from which a GAN makes given images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from lightning_gen.commands.terminal import console
from lightning_gen.config.build import build_data
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.given_images import given_images
from lightning_gen.evaluation.headings import heading
from lightning_gen.evaluation.inversion import Inverted, Search, invert
from lightning_gen.evaluation.latent_space import space_of
from lightning_gen.files import shortest, write_atomically
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.pictures import Grid, save_picture
from lightning_gen.progress import progress
from lightning_gen.runs.loading import load_image_model
from lightning_gen.runs.run import Run

SHOWN = 12  # images in the picture


def invert_images(
    run_dir: Path, images: Sequence[Path], search: Search, seed: int, checkpoint: str, out: Path | None
) -> Inverted:
    """Invert images; print their errors and write codes.npz and inverted.png into RUN/inversion, or into `out`.

    Raises:
        UserError: the model has an encoder, or images that cannot be used.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    with progress(None, "setting up data and model"):
        data, model = build_data(run.config), load_image_model(run, checkpoint)
        space = space_of(model)
    if space.encodes:
        raise UserError(f"model={run.config.model.name} encodes images: invert is for GANs, which have no encoder.")
    wanted, _, names = given_images(images, data)
    features = _features(data) if search.perceptual else None
    with progress(search.steps * search.restarts * len(wanted), "inverting the images", "steps") as advance:
        found = invert(space, wanted, search, features, seed, advance)
    folder = run.path / "inversion" if out is None else out
    console().print(_table(found, names))
    line = heading(model, data.dataset, model.step_loaded)
    try:
        _save_codes(found, names, folder / "codes.npz")
        save_picture(_picture(wanted, found, names).draw(line), folder / "inverted.png")
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another folder with --out."
        ) from error
    console().print(f"{space.name:8} {shortest(folder / 'codes.npz')}")
    console().print(f"picture  {shortest(folder / 'inverted.png')}")
    return found


def _features(data: ImageDataModule) -> FeatureExtractor:
    """The features of the evaluation, see `build_extractor`."""
    train = data.train
    return build_extractor(
        dataset=data.dataset, images=train.images, labels=train.labels, cache_dir=data.decoding.cache_dir
    )


def _table(found: Inverted, names: Sequence[str]) -> Table:
    """The squared error of each image, beside that of the nearest random sample and of all searches."""
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column("squared error", no_wrap=True)
    for title in ("inverted", "per pixel", "nearest sample", "worst search"):
        table.add_column(title, justify="right", no_wrap=True)
    size = found.images[0].numel()
    worst = found.restart_errors.amax(dim=1)
    rows = torch.stack([found.errors, found.errors / size, found.nearest, worst], dim=1)
    for name, row in zip([*names, "mean"], [*rows.tolist(), rows.mean(dim=0).tolist()], strict=True):
        table.add_row(name, *(f"{value:.3g}" for value in row))
    return table


def _save_codes(found: Inverted, names: Sequence[str], path: Path) -> None:
    """`codes` [N, D], `errors` [N], `names` and, of a conditional model, `labels`."""
    arrays = {"codes": found.points.cpu().numpy(), "errors": found.errors.numpy(), "names": np.array(names)}
    if found.labels is not None:
        arrays["labels"] = found.labels.cpu().numpy()
    write_atomically(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _picture(images: torch.Tensor, found: Inverted, names: Sequence[str]) -> Grid:
    """The images in a row, below them their inversions, and the nearest of the random samples."""
    rows = [images.cpu(), found.images, found.nearest_images]
    return Grid(
        torch.cat([row[:SHOWN] for row in rows]),
        min(len(images), SHOWN),
        "Images, their inversions, and the nearest of the random samples",
        row_names=["original", "inverted", "nearest sample"],
        column_names=[f"error {error:.2g}" for error in found.errors[:SHOWN].tolist()],
    )
