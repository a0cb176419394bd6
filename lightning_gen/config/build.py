"""Build the objects of a config."""

from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.schedules import split_schedules
from lightning_gen.config.types import parameters
from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import UserError, one_line
from lightning_gen.networks.initialization import activation_of, initialize
from lightning_gen.networks.spectral import normalize, normalized


def build(node: DictConfig, **arguments: Any) -> Any:
    """Build the object of a config node with `_target_`; lists and dicts become plain containers.

    A node with `_partial_: true` becomes a `functools.partial`.

    Raises:
        UserError: raised by the object itself, or an error of Hydra in one line.
    """
    try:
        return _built(node, **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        text = " ".join(line.strip() for line in str(error).splitlines()[:2])
        if "missing" in text and "required positional argument" in text:
            text += " Set it in the config, or add `_partial_: true` if the model provides it."
        raise UserError(text) from error


def _built(node: Any, **arguments: Any) -> Any:
    """Build the innermost nodes first, so that no object is given one of Hydra's own partials.

    Those check their target at each call, which takes 0.6 ms of every step in which one is called.
    """
    if OmegaConf.is_list(node):
        return [_built(item) for item in node]
    if not OmegaConf.is_dict(node):
        return node
    keys = [key for key in node if not OmegaConf.is_missing(node, key)]
    inner = {key: _built(node[key]) for key in keys if OmegaConf.is_config(node[key]) and key not in arguments}
    if "_target_" not in node:
        return {key: inner.get(key, node[key]) for key in node}
    made = instantiate(node, _convert_="all", _recursive_=False, **{**inner, **arguments})
    return partial(made.func, *made.args, **made.keywords) if isinstance(made, partial) else made


def model_class(config: DictConfig) -> Any:
    """The class of the model of a config.

    Raises:
        UserError: the class cannot be imported.
    """
    try:
        return get_class(config.model._target_)
    except Exception as error:  # importing a module of the user may raise anything
        raise UserError(f"model._target_={config.model._target_} cannot be imported: {one_line(error)}") from error


def build_model(config: DictConfig, image_shape: tuple[int, int, int], table: TableSchema | None = None) -> Any:
    """The LightningModule of a config. Its arguments are the keys of `model`, and the networks as factories.

    `table`: the columns, for data that are rows of a table.

    Raises:
        UserError: a missing key of `networks`, raised by the model itself, `conditional=true` for a model that takes
            no classes, or a schedule of a number that is used only when the model is built.
    """
    absent = [key for key in ("encoder", "decoder", "spectral_norm", "init") if key not in config.networks]
    if absent:
        raise UserError(f"The config of networks lacks `{absent[0]}`.")
    networks = build(config.networks)
    tree: Any = OmegaConf.to_container(config.model, resolve=True)
    own = {key: value for key, value in tree.items() if key not in ("name", "source")}
    arguments, scheduled = split_schedules(own)
    if "source" in config.model:  # a model inside the model
        arguments["source"] = build_model(config.model.source, image_shape)
    if config.get("num_classes"):
        if "num_classes" not in parameters(model_class(config)):
            raise UserError(f"model={config.model.name} cannot be conditioned on the class: set conditional=false.")
        arguments["num_classes"] = config.num_classes
    spectral = {name: networks["spectral_norm"] in (name, "both") for name in ("encoder", "decoder")}
    model = build(
        DictConfig(arguments, flags={"allow_objects": True}),
        image_shape=image_shape,
        encoder=normalized(networks["encoder"], spectral["encoder"]),
        decoder=normalized(networks["decoder"], spectral["decoder"]),
        seed=config.seed,
    )
    model.see_table(table)
    for module in model.spectral_modules() if spectral["encoder"] else []:
        normalize(module)
    initialize(model, networks["init"], activation_of(model))
    model.scheduled = scheduled
    model.follow_schedules()  # tells now if a number cannot
    if "schedule" in config:  # a model inside a model has no schedule
        model.schedule = build(config.schedule)
    return model


def build_data(config: DictConfig) -> Any:
    """The LightningDataModule of a config."""
    return build(config.dataset, seed=config.seed)
