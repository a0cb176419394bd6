"""lightning-gen sample: images drawn from a trained model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.fitted_priors import attach_prior
from lightning_gen.files import shortest
from lightning_gen.models.use import draw_samples
from lightning_gen.pictures import POINTS, grid, save_picture, to_picture
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run


@dataclass(frozen=True)
class Draw:
    """Which samples to draw: seed, fitted prior, class of a conditional model, truncation for a GAN."""

    seed: int = 0
    prior: str | None = None
    label: int | None = None
    truncation: float | None = None


def sample_run(run_dir: Path, checkpoint: str, count: int, out: Path, format: str, draw: Draw) -> str:
    """Draw `count` images from the model of a run and write them to `out`; returns a line that says where.

    Raises:
        UserError: an unknown class, or a truncation for a model that is not a GAN.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    model = load_model(run, checkpoint)
    if draw.prior is not None:
        attach_prior(run, model, draw.prior, checkpoint)
    images = draw_samples(model, count, draw.seed, draw.label, draw.truncation)
    try:
        return _write_images(images, out, format)
    except OSError as error:
        raise UserError(f"Cannot write to {out} ({error.strerror}): choose another folder with -o.") from error


def _write_images(images: torch.Tensor, out: Path, format: str) -> str:
    points = images.shape[1:] == POINTS
    if format == "grid" or (format == "png" and points):
        path = out / "grid.png"
        save_picture(grid(images, columns=max(round(len(images) ** 0.5), 1)), path)
        return f"{len(images)} samples in {shortest(path)}"
    if format == "npz":
        path = out / "samples.npz"
        out.mkdir(parents=True, exist_ok=True)
        array = (images if points else images.mul(255).round().to(torch.uint8)).numpy()
        np.savez_compressed(path, images=array)
        return f"{len(images)} samples, {array.dtype} {list(images.shape)} in `images` of {shortest(path)}"
    for index, image in enumerate(images):
        save_picture(to_picture(image), out / f"{index:06d}.png")
    return f"{len(images)} samples in {shortest(out)}"
