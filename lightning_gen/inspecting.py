"""What is done with a run after training, from its directory alone."""

import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_gen import config as configs
from lightning_gen.callbacks.ema import load_average
from lightning_gen.callbacks.evaluation import evaluate_model, neighbours
from lightning_gen.errors import UserError
from lightning_gen.evaluators import build_evaluator
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.gan import GAN
from lightning_gen.pictures import POINTS, grid, save_picture, to_picture
from lightning_gen.priors import attach_prior
from lightning_gen.randomness import mix
from lightning_gen.resuming import composed_config
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
    model.averaged, model.step_loaded = load_average(model, state), state["global_step"]
    model.images_seen = state["images_seen"]
    return model.to(device or default_device()).eval().requires_grad_(False)


@dataclass(frozen=True)
class Draw:
    """Which samples: seed, fitted prior, class of a conditional model, truncation of a GAN's codes."""

    seed: int = 0
    prior: str | None = None
    label: int | None = None
    truncation: float | None = None


def sample_run(run_dir: Path, checkpoint: str, count: int, out: Path, format: str, draw: Draw) -> str:
    """Write `count` images of a run into `out`; returns a line that says where they are.

    Raises:
        UserError: a class that the model does not know, or a truncation of what is not a GAN.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    model = load_model(run, checkpoint)
    if draw.prior is not None:
        attach_prior(run, model, draw.prior, checkpoint)
    if draw.label is not None and draw.label >= model.num_classes:
        raise UserError(f"--label {draw.label}: this model is conditioned on {model.num_classes} classes.")
    if draw.truncation is not None:
        if not isinstance(model, GAN):
            raise UserError(f"--truncation is for GANs, and {run.path} holds model={run.config.model.name}.")
        model.truncation = draw.truncation
    generator = torch.Generator().manual_seed(mix(draw.seed))
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    labels = [None if draw.label is None else torch.full((size,), draw.label, device=model.device) for size in sizes]
    images = torch.cat([model.sample(size, generator, its).cpu() for size, its in zip(sizes, labels, strict=True)])
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


def evaluate_run(run_dir: Path, overrides: list[str], prior: str | None = None) -> dict[str, Any]:
    """Measure a run's model, print the table and add it to summary.json under `evaluations`.

    `overrides`: a protocol (`evaluation=standard`), values (`evaluation.num_samples=5000`, `dataset.root=DIR`), and
    `checkpoint=best|last|PATH`; best if it is not given. `prior`: a density that `fit-prior` has fitted.
    """
    from rich.console import Console

    quiet_libraries()
    run = Run.load(run_dir)
    checkpoint = next((o.partition("=")[2] for o in overrides if o.startswith("checkpoint=")), "best")
    set_protocol(run.config, [o for o in overrides if not o.startswith("checkpoint=")])
    configs.validate(run.config)
    device = default_device()
    data = configs.build_data(run.config)
    model = load_model(run, checkpoint, device)
    model.see_data(data, fresh=False)
    evaluator = build_evaluator(run.config, data, device)
    print(evaluator.note, file=sys.stderr)
    context = {"ema": model.averaged, "checkpoint": checkpoint, "step": model.step_loaded}
    if prior is not None:
        attach_prior(run, model, prior, checkpoint)
        context["prior"] = prior
    metrics, protocol = evaluate_model(model, data, evaluator, **context)
    if evaluator.likelihood is not None and prior is None:
        more, how = evaluator.likelihood(model, data, **context)
        metrics, protocol = metrics | more, protocol | how
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry: dict[str, Any] = {"evaluation": evaluator.name, "checkpoint": checkpoint, "time": time} | {
        "metrics": metrics,
        "protocol": protocol,
    }
    Console(soft_wrap=True).print(metrics_table(entry))
    run.add_evaluation(entry)
    for name, (tiles, columns) in neighbours(evaluator).items():
        path = run.path / name / f"{evaluator.name}_{Path(checkpoint).stem}.png"
        save_picture(grid(tiles, columns), path)
        print(f"{name} {shortest(path)}")
    return entry


def set_protocol(config: DictConfig, overrides: list[str]) -> None:
    """Change the evaluation of a saved config: groups are composed anew, so that a protocol means what it says.

    Raises:
        UserError: an override that does not exist, or that is neither of the evaluation nor of the data set.
    """
    from lightning_gen.app import explain

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        groups = [o for o in parsed if o.key_or_group == "evaluation" or "/" in o.key_or_group]
        for override in parsed:
            if not override.key_or_group.startswith(("evaluation", "dataset.")):
                raise UserError(
                    f"{override.input_line}: evaluate takes evaluation=..., evaluation....=..., dataset....=... and "
                    f"checkpoint=best|last|PATH."
                )
        composed = composed_config([str(o.input_line) for o in groups])
        OmegaConf.resolve(composed.evaluation)
        if any(o.key_or_group == "evaluation" for o in groups):
            config.evaluation = composed.evaluation
        elif groups:
            config.evaluation.extractor = composed.evaluation.extractor
        OmegaConf.set_struct(config, True)
        for override in (o for o in parsed if o not in groups):
            OmegaConf.update(config, override.key_or_group, override.value())
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
