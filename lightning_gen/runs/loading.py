"""From a run directory to its model and its data."""

import torch
from omegaconf import OmegaConf

from lightning_gen.config.build import build_data, build_model, model_class
from lightning_gen.config.tree import config_dir, options_of_groups
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import UserError
from lightning_gen.models.averaging import load_average
from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.run import Run


def load_encoder_and_data(run: Run, checkpoint: str) -> tuple[GenerativeModel, ImageDataModule]:
    """The model of a run and its data.

    Raises:
        UserError: the model has no encoder, or its table has changed.
    """
    model = load_model(run, checkpoint)
    if not model.can_encode:
        raise UserError(no_codes(run))
    data = build_data(run.config)
    model.check_table(data)
    return model, data


def no_codes(run: Run) -> str:
    """The message for a run whose model has no encoder: it says which models have one."""
    classes = {name: OmegaConf.load(config_dir() / "model" / f"{name}.yaml") for name in options_of_groups()["model"]}
    encode = [name for name, config in classes.items() if model_class(OmegaConf.create({"model": config})).can_encode]
    return (
        f"{run.path} has model={run.config.model.name}, which has no encoder and so no codes: name a run of "
        f"model={', '.join(encode)}."
    )


def default_device() -> torch.device:
    """A GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(run: Run, checkpoint: str = "best", device: torch.device | None = None) -> GenerativeModel:
    """The model of a run, in evaluation mode, with averaged weights if its checkpoint contains them.

    Raises:
        UserError: the checkpoint is missing or unreadable.
    """
    state = run.read_checkpoint(checkpoint)
    table = TableSchema.from_dict(state["table"]) if "table" in state else None
    model: GenerativeModel = build_model(run.config, tuple(state["image_shape"]), table)
    model.load_state_dict(state["state_dict"])
    model.averaged = load_average(model, state) or state.get("averaged", False)  # the second: of an export
    model.step_loaded = state["global_step"]
    model.images_seen = state["images_seen"]
    model.follow_schedules()
    return model.to(device or default_device()).eval().requires_grad_(False)


def load_image_model(run: Run, checkpoint: str = "best", device: torch.device | None = None) -> GenerativeModel:
    """`load_model`, for what is done with images only.

    Raises:
        UserError: the run has rows of a table.
    """
    model = load_model(run, checkpoint, device)
    if model.table is not None:
        raise UserError(f"{run.path} has rows of a table, and this command is for images: see docs/tables.md.")
    return model
