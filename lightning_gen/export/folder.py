"""Folders with exported models: written from a run, and those with safetensors read back as if they were runs."""

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.export.card import CARD, card_of, readme, signature
from lightning_gen.export.formats import FORMATS, largest_difference, require
from lightning_gen.export.parts import parts_of, why_no_sampler
from lightning_gen.files import write_atomically
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import draw_samples
from lightning_gen.pictures import Grid, save_picture
from lightning_gen.progress import progress
from lightning_gen.runs.records import read_text
from lightning_gen.runs.run import Run
from lightning_gen.runs.trained import TrainedRun
from lightning_gen.runs.trust import check_targets, without_environment
from lightning_gen.runs.upgrade import upgraded

WEIGHTS = "model.safetensors"
TOLERANCE = 1e-4  # a larger difference from the model means that its graph is wrong


def write_graphs(run: Run, model: GenerativeModel, checkpoint: str, format: str, folder: Path) -> list[str]:
    """Write a file for each part of a model on the CPU, and the card; returns a line for each.

    Each file is read back and compared with the model.

    Raises:
        UserError: a package is missing, or a part gives other images than the model.
    """
    suffix, write, read = FORMATS[format]
    card, lines = card_of(run, model, checkpoint, format) | {"parts": {}, "left_out": {}}, []
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts_of(model).items():
        path = folder / f"{name}{suffix}"
        with progress(None, f"exporting the {name}"):
            write(part, path)
            difference = largest_difference(part, read(path))
        if not difference < TOLERANCE:
            path.unlink()
            raise UserError(f"The {name} cannot be exported as {format}: its results differ by {difference:.2g}.")
        card["parts"][name] = {"file": path.name, **signature(part), "largest_difference": difference}
        inputs = ", ".join(f"{port.name} {['N', *port.shape]}".replace("'", "") for port in part.inputs)
        lines.append(f"{path.name:<20} {inputs} -> {part.output.name}; equals the model to {difference:.0e}")
    reason = why_no_sampler(model)
    if reason is not None:
        card["left_out"]["sampler"] = reason
        lines.append(f"no sampler{suffix}: {reason}. --format hub with lightning_gen.load samples.")
    write_card(card, folder)
    return lines


def write_weights(run: Run, model: GenerativeModel, checkpoint: str, format: str, folder: Path) -> list[str]:
    """Write model.safetensors with all weights, and the card; for `hub` also README.md and a picture of samples.

    Raises:
        UserError: a package is missing.
    """
    require("safetensors")
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    card = card_of(run, model, checkpoint, format) | {"file": WEIGHTS}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt", "title": card["title"]})
    lines = [f"{WEIGHTS:<20} {len(tensors)} tensors, weights {card['weights']}"]
    if format == "hub":
        if model.can_sample:
            card["samples"] = "samples.png"
            save_picture(Grid(draw_samples(model, 64), 8, "64 samples").draw(card["title"]), folder / "samples.png")
        write_atomically(folder / "README.md", readme(card))
        lines.append(f"{'README.md':<20} the model card")
    write_card(card, folder)
    return lines


def write_card(card: dict[str, Any], folder: Path) -> None:
    """Write config.json."""
    write_atomically(folder / CARD, json.dumps(card, indent=2, default=float) + "\n")


# -- reading back --------------------------------------------------------------------------------------------


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export, and not a run."""
    return (folder / CARD).is_file() and not (folder / "config.yaml").exists()


def load_export(folder: Path, device: torch.device | str | None = None) -> TrainedRun:
    """The model of a folder that `lightning-gen export --format safetensors` or `hub` wrote.

    Like a run directory, it may come from a stranger, so its config is held to the same rules (`runs/trust.py`).

    Raises:
        UserError: another format, damaged files, or a config that names what is not trusted.
    """
    try:
        card = json.loads(read_text(folder / CARD))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} cannot be read ({error}).") from error
    if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
        raise UserError(f"{folder / CARD} is not the card of an export of lightning_gen.")
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{folder} has no {WEIGHTS}: lightning_gen.load reads exports with --format safetensors or hub."
        )
    tree: Any = OmegaConf.to_container(upgraded(DictConfig(card["config"])))
    check_targets(tree, folder / CARD)
    run = ExportedRun(folder.resolve(), OmegaConf.create(without_environment(tree)))
    run.card = card
    return TrainedRun(run, card.get("checkpoint", "best"), device)


class ExportedRun(Run):
    """An export in place of a run directory: its card and its weights, which are read only."""

    card: dict[str, Any]

    def read_checkpoint(self, which: str = "last") -> dict[str, Any]:
        require("safetensors")
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: dict[str, Tensor] = load_file(self.path / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.path / WEIGHTS} cannot be read ({error}).") from error
        return {
            "state_dict": tensors,
            "averaged": self.card["weights"] == "averaged",
            "image_shape": self.card["image_shape"],
            "global_step": self.card["step"],
            "images_seen": self.card["images_seen"],
        }

    def read_summary(self) -> dict[str, Any]:
        metrics = {one["name"]: one["value"] for one in self.card["metrics"]}
        return {"metrics": metrics, "progress": {"step": self.card["step"], "images_seen": self.card["images_seen"]}}
