"""Configs: where they lie, how they become objects, and the rules between their parts."""

from functools import partial
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_gen.errors import UserError
from lightning_gen.networks.initialization import INITIALIZATIONS, initialize
from lightning_gen.networks.spectral import normalize, normalized

OmegaConf.register_new_resolver("reverse", lambda values: list(reversed(values)), replace=True)

PACKAGE = Path(__file__).parent
# Keys of `model` that are no arguments of its class.
OF_THE_RUN = ("name", "monitor", "ema_half_life", "schedule", "encoder_from", "conditional", "ema_buffers")


def config_dir() -> Path:
    """`conf/`: inside the installed package, or beside it in a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def search_path() -> list[str]:
    """The folder that holds sweeps/, where it is not in `conf/` already: Hydra's argument for it."""
    root = PACKAGE.parent
    return (
        [f"hydra.searchpath=['file://{root}']"]
        if (root / "sweeps").is_dir() and config_dir() == root / "conf"
        else []
    )


def build(node: DictConfig, **arguments: Any) -> Any:
    """Turn a config node with `_target_` into its object; lists and dicts become plain containers.

    Raises:
        UserError: the object's own, or Hydra's in one line.
    """
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(" ".join(line.strip() for line in str(error).splitlines()[:2])) from error


def build_model(config: DictConfig, image_shape: tuple[int, int, int]) -> Any:
    """The LightningModule of a config: its networks as factories, the rest as arguments."""
    networks = build(config.networks)
    arguments = {key: value for key, value in config.model.items() if key not in OF_THE_RUN}
    if "source" in arguments:  # a model inside the model
        arguments["source"] = build_model(arguments["source"], image_shape)
    model = build(
        DictConfig(arguments, flags={"allow_objects": True}),
        image_shape=image_shape,
        encoder=normalized(networks["encoder"], networks["spectral_norm"] in ("encoder", "both")),
        decoder=normalized(networks["decoder"], networks["spectral_norm"] in ("decoder", "both")),
        seed=config.seed,
    )
    if networks["spectral_norm"] in ("encoder", "both") and hasattr(model, "discriminator"):
        normalize(model.discriminator)  # its heads too
    initialize(model, networks["init"], networks["encoder"].keywords.get("activation", "relu"))
    model.schedule = plain(build(config.model.schedule))
    return model


def plain(factory: Any) -> Any:
    """Hydra's partial as functools' own: Hydra's checks its target at each call, 0.6 ms of every step."""
    if isinstance(factory, partial):
        return partial(factory.func, *factory.args, **factory.keywords)
    return factory


def build_data(config: DictConfig) -> Any:
    """The LightningDataModule of a config."""
    return build(config.dataset, seed=config.seed)


def validate(config: DictConfig) -> None:
    """The rules between keys that no single config can state.

    Raises:
        UserError: with the override that would put it right.
    """
    trainer = config.trainer
    least = {
        "seed": (config.seed, 0),
        "trainer.max_steps": (trainer.max_steps, 0),
        "evaluation.num_samples": (config.evaluation.num_samples, 2),  # a covariance needs two
    }
    positive = {
        "dataset.batch_size": config.dataset.batch_size,
        "model.latent_dim": config.model.get("latent_dim", 1),
        "trainer.log_every_n_steps": trainer.log_every_n_steps,
        "checkpoint.every_n_steps": config.checkpoint.every_n_steps,
        "evaluation.every_n_steps": config.evaluation.every_n_steps,
        "model.d_steps": config.model.get("d_steps", 1),
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
    }
    for key, (value, minimum) in (least | {key: (value, 1) for key, value in positive.items()}).items():
        if not isinstance(value, int) or value < minimum:
            raise UserError(f"{key}={value} must be a whole number, {minimum} or more.")
    if config.networks.spectral_norm not in ("none", "encoder", "decoder", "both"):
        raise UserError(
            f"networks.spectral_norm={config.networks.spectral_norm}: use none, encoder, decoder or both."
        )
    if config.networks.init not in INITIALIZATIONS:
        raise UserError(f"networks.init={config.networks.init}: use one of {', '.join(INITIALIZATIONS)}.")
    if config.networks.decoder.get("tied") and config.model.name not in ("ae", "classifier"):
        raise UserError("networks.decoder.tied=true needs an encoder to mirror: use model=ae, or tied=false.")


def check_batch(batch_size: int, processes: int) -> None:
    """The global batch must divide by the number of processes.

    Raises:
        UserError: naming the nearest batch sizes that do.
    """
    if batch_size % processes:
        below = batch_size // processes * processes
        sizes = " or ".join(str(size) for size in (below, below + processes) if size)
        raise UserError(
            f"dataset.batch_size={batch_size} is the batch over all devices and does not divide by "
            f"{processes} of them: use {sizes}."
        )
