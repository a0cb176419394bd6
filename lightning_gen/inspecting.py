"""What is done with a run after training, from its directory alone."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_gen import config as configs
from lightning_gen.callbacks.ema import load_average
from lightning_gen.callbacks.evaluation import evaluate_model
from lightning_gen.errors import UserError
from lightning_gen.evaluators import build_evaluator
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.latent_density import GaussianMixture
from lightning_gen.pictures import POINTS, grid, save_picture, to_picture
from lightning_gen.randomness import mix
from lightning_gen.run import Run
from lightning_gen.terminal import metrics_table, quiet_libraries, shortest

CHUNK = 250  # images drawn at once


def default_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(run: Run, checkpoint: str = "best", device: torch.device | None = None) -> GenerativeModel:
    """The model of a run in evaluation mode, with averaged weights if its checkpoint has them.

    Raises:
        UserError: the checkpoint is missing or unreadable.
    """
    state = run.read_checkpoint(checkpoint)
    model: GenerativeModel = configs.build_model(run.config, tuple(state["image_shape"]))
    model.load_state_dict(state["state_dict"])
    model.averaged = load_average(model, state)
    model.images_seen = state["images_seen"]
    return model.to(device or default_device()).eval().requires_grad_(False)


def attach_prior(run: Run, model: GenerativeModel, kind: str) -> None:
    """Let the model sample from the density that `fit-prior` has fitted to its codes.

    Raises:
        UserError: there is none, or it was fitted to another checkpoint.
    """
    path = run.path / "priors" / f"{kind}.pt"
    if not path.exists():
        raise UserError(f"There is no {path}: run `lightning-gen fit-prior {run.path} --kind {kind}` first.")
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if saved["images_seen"] != model.images_seen:
        raise UserError(f"{path} was fitted to another checkpoint: run fit-prior again with this one's --checkpoint.")
    model.density = GaussianMixture(model.latent_dim, len(saved["state_dict"]["weights"]))
    model.density.load_state_dict(saved["state_dict"])
    model.density.to(model.device)


def sample_run(
    run_dir: Path, checkpoint: str, count: int, out: Path, format: str, seed: int, prior: str | None = None
) -> str:
    """Write `count` images of a run into `out`; returns a line that says where they are."""
    quiet_libraries()
    run = Run.load(run_dir)
    model = load_model(run, checkpoint)
    if prior is not None:
        attach_prior(run, model, prior)
    generator = torch.Generator().manual_seed(mix(seed))
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    images = torch.cat([model.sample(size, generator).cpu() for size in sizes])
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


def evaluate_run(run_dir: Path, checkpoint: str, overrides: list[str], prior: str | None = None) -> dict[str, Any]:
    """Measure a run's model, print the table and add it to summary.json under `evaluations`."""
    from rich.console import Console

    quiet_libraries()
    run = Run.load(run_dir)
    try:
        OmegaConf.set_struct(run.config, True)
        run.config.merge_with_dotlist(overrides)
    except OmegaConfBaseException as error:
        raise UserError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
    configs.validate(run.config)
    device = default_device()
    data = configs.build_data(run.config)
    model = load_model(run, checkpoint, device)
    context = {"ema": model.averaged, "checkpoint": checkpoint}
    if prior is not None:
        attach_prior(run, model, prior)
        context["prior"] = prior
    metrics, protocol = evaluate_model(model, data, build_evaluator(run.config, data, device), **context)
    summary = {"metrics": metrics, "protocol": protocol}
    Console(soft_wrap=True).print(metrics_table(summary))
    run.write_summary(evaluations=[*run.read_summary().get("evaluations", []), summary])
    return summary
