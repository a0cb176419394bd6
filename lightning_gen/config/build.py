"""From a config to its objects."""

from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from lightning_gen.errors import UserError
from lightning_gen.networks.initialization import initialize
from lightning_gen.networks.spectral import normalize, normalized

# Keys of `model` that are no arguments of its class.
OF_THE_RUN = ("name", "monitor", "ema_half_life", "schedule", "encoder_from", "conditional", "ema_buffers")


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
