"""What a model takes from elsewhere: the classes of the data, the encoder of another run."""

from pathlib import Path

from omegaconf import OmegaConf

from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run


def fill_in(run: Run, data: ImageDataModule) -> None:
    """Write into the config what the model takes from elsewhere: the classes, and another run's encoder.

    After that the run directory is enough: the other run may go.

    Raises:
        UserError: the data have no labels, or there is no such run.
    """
    model = run.config.model
    wanted = model.get("conditional") or "encoder_from" in model
    if not wanted or model.num_classes:
        return
    if data.train.labels is None:
        asked = "model.conditional=true" if model.get("conditional") else f"model={model.name}"
        raise UserError(f"{asked} needs labels, and dataset={data.dataset} has none.")
    model.num_classes = data.num_classes
    if model.get("encoder_from") is not None:
        source = Run.load(model.encoder_from).config
        model.encoder_from = str(Path(model.encoder_from).resolve())
        OmegaConf.set_struct(model, False)
        model.source = {"model": source.model, "networks": source.networks, "seed": source.seed}
    if (run.path / "config.yaml").exists():  # else it is saved once everything has been checked
        run.save()


def load_encoder(run: Run, model: GenerativeModel) -> None:
    """Put the weights of `model.encoder_from` into a new model (its last checkpoint, averaged where it has them).

    Raises:
        UserError: the images are of another shape, or the other run's checkpoint cannot be read.
    """
    origin = run.config.model.get("encoder_from")
    if origin is None:
        return
    trained = load_model(Run.load(origin), "last")
    if trained.image_shape != model.image_shape:
        raise UserError(
            f"model.encoder_from={origin} was trained on images of {tuple(trained.image_shape)}, these are "
            f"{tuple(model.image_shape)}: use the same dataset.size and dataset.channels."
        )
    model.source.load_state_dict(trained.cpu().state_dict())  # type: ignore[union-attr]
