"""What a model takes from outside its config: the number of classes from the data, an encoder from another run."""

from pathlib import Path

from omegaconf import OmegaConf, open_dict

from lightning_gen.config.build import model_class
from lightning_gen.config.tree import config_dir
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.objectives.likelihoods import Bernoulli
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import Run


def fill_in(run: Run, data: ImageDataModule) -> None:
    """Write the number of classes, a table's likelihood and the config of another run's encoder into the config.

    From then on the run directory is complete: the other run may be deleted.

    Raises:
        UserError: the data have no labels, the model takes no encoder, or the other run does not exist.
    """
    config = run.config
    if data.table is not None:
        _choose_table_likelihood(run)
    needs_labels = model_class(config).needs_labels
    if config.encoder_from is not None and "source" not in config.model:
        raise UserError(
            f"encoder_from={config.encoder_from} is for model=classifier, not for model={config.model.name}."
        )
    if not (config.conditional or needs_labels) or config.num_classes:
        return
    if data.train.labels is None:
        asked = f"model={config.model.name}" if needs_labels else "conditional=true"
        raise UserError(f"{asked} needs labels, and dataset={data.dataset} has none.")
    config.num_classes = data.num_classes
    if config.encoder_from is not None:
        source = Run.load(config.encoder_from).config
        config.encoder_from = str(Path(config.encoder_from).resolve())
        OmegaConf.set_struct(config, False)
        kept = ("model", "networks", "seed", "num_classes")
        config.model.source = {key: source[key] for key in kept}
    _save(run)


def _choose_table_likelihood(run: Run) -> None:
    """Replace the default likelihood of a VAE, which is for images, by that of tables.

    One that was asked for stays, and the model refuses it.
    """
    model = run.config.model
    if (model.get("likelihood") or {}).get("_target_") != f"{Bernoulli.__module__}.{Bernoulli.__name__}":
        return
    if any(override.startswith("model/likelihood=") for override in saved_overrides(run.path)):
        return
    with open_dict(run.config):
        model.likelihood = OmegaConf.load(config_dir() / "model" / "likelihood" / "table.yaml")
    _save(run)


def _save(run: Run) -> None:
    if (run.path / "config.yaml").exists():  # otherwise it is saved once everything has been checked
        run.save()


def load_encoder(run: Run, model: GenerativeModel) -> None:
    """Copy the weights of `encoder_from` into a new model: its last checkpoint, averaged if it has an average.

    Raises:
        UserError: the other run has images of another shape, or its checkpoint cannot be read.
    """
    origin = run.config.encoder_from
    if origin is None:
        return
    trained = load_model(Run.load(origin), "last")
    if trained.image_shape != model.image_shape:
        raise UserError(
            f"encoder_from={origin} was trained on images of {tuple(trained.image_shape)}, but these are "
            f"{tuple(model.image_shape)}: use the same dataset.size and dataset.channels."
        )
    model.source.load_state_dict(trained.cpu().state_dict())  # type: ignore[union-attr]
