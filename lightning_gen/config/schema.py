"""The type and range of every key of a config, checked before anything is built.

For keys that are arguments of an object, type and range are the annotations of its class (`latent_dim: Count`). For
groups that build no object, they are in groups.py. So a new network, loss or data set is checked without further
code.
"""

from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer as LightningTrainer
from torch.optim import Optimizer

from lightning_gen.config.groups import GROUPS, SET_BY_US, Root, Trainer
from lightning_gen.config.schedules import check_schedule, has_schedule
from lightning_gen.config.types import fits, hints, in_words, is_checked, is_plain, needs_object, parameters
from lightning_gen.errors import UserError, did_you_mean, one_line
from lightning_gen.ranges import Decay, NonNegative

HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
RANGES_OF_OPTIMIZERS = {
    "lr": NonNegative,
    "betas": tuple[Decay, Decay],
    "eps": NonNegative,
    "weight_decay": NonNegative,
    "momentum": Decay,
}


def check(config: DictConfig) -> None:
    """Check the type and range of every key.

    Raises:
        UserError: for the first key that is wrong, with its value and what is allowed.
    """
    tree: Any = OmegaConf.to_container(config, resolve=True)
    _check_group(dict(tree), Root, "")


def _check_group(node: dict[str, Any], group: type, path: str) -> None:
    """Check a group that builds no object against the annotations of its dataclass."""
    types = hints(group)
    for key, value in node.items():
        kind, full = types.get(key, Any), f"{path}{key}"
        if group is Trainer and key not in types:
            kind = _trainer_field(key, full)
        if isinstance(kind, type) and kind in GROUPS:
            if not isinstance(value, dict):
                raise UserError(f"{full}={_shown(value)} is a group of keys: set one of them, {full}.KEY=VALUE.")
            _check_group(value, kind, f"{full}.")
        else:
            _check_value(value, kind, full)


def _trainer_field(key: str, full: str) -> Any:
    known = hints(LightningTrainer)
    if key in SET_BY_US:
        instead = f": use {SET_BY_US[key]}" if SET_BY_US[key] else ""
        raise UserError(f"{full} is set by lightning_gen{instead}.")
    if key not in known:
        raise UserError(f"{full} is not an argument of Lightning's Trainer.{did_you_mean(key, known)}")
    return known[key]


def _check_value(value: Any, kind: Any, full: str) -> None:
    if has_schedule(value):
        check_schedule(value, kind, full)
    elif isinstance(value, dict) and is_checked(kind) and not fits(value, kind):
        raise UserError(f"{full}={_shown(value)} must be {in_words(kind)}.")
    elif isinstance(value, dict) and "_target_" in value:
        _check_target(value, full)
    elif isinstance(value, dict) and (kind is Any or _holds_targets(value)):
        for key, inner in value.items():
            _check_value(inner, Any, f"{full}.{key}")
    elif is_plain(value) and needs_object(kind, value):
        raise UserError(f"{full}={_shown(value)} must be a group of keys with a _target_, which builds it.")
    elif not fits(value, kind):
        raise UserError(f"{full}={_shown(value)} must be {in_words(kind)}.")


def _holds_targets(node: Any) -> bool:
    """Whether the node or a part of it builds an object."""
    return isinstance(node, dict) and ("_target_" in node or any(map(_holds_targets, node.values())))


def _check_target(node: dict[str, Any], path: str) -> None:
    """Check the arguments of an object against the annotations of its class or function."""
    parameters, types, open_ended = arguments_of(node, path)
    for key, value in node.items():
        if key in HYDRA_KEYS or (key == "name" and path.endswith("model")):
            continue
        full = f"{path}.{key}"
        if key not in parameters and not open_ended:
            raise UserError(f"There is no config key {full!r}.{did_you_mean(key, parameters)}")
        _check_value(value, types.get(key, Any), full)


def arguments_of(node: dict[str, Any], path: str) -> tuple[list[str], dict[str, Any], bool]:
    """The names and types of the arguments of a node's target, and whether it takes others as well.

    Arguments that a class passes on to one of its parts by `**options`, as a data set does to its source, are
    arguments of that part.

    Raises:
        UserError: the target cannot be imported.
    """
    try:
        target = get_object(node["_target_"])
    except Exception as error:  # importing a module may raise anything
        raise UserError(f"{path}._target_={node['_target_']} cannot be imported: {one_line(error)}") from error
    try:
        known = parameters(target)
    except ValueError:  # built-in
        return [], {}, True
    types = dict(hints(target))
    if isinstance(target, type) and issubclass(target, Optimizer):
        types |= {key: kind for key, kind in RANGES_OF_OPTIMIZERS.items() if key in known}
    names = [name for name, p in known.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    parts = [part for part in node.values() if isinstance(part, dict) and "_target_" in part]
    if open_ended and parts:
        for part in parts:
            more, kinds, open_ended = arguments_of(part, path)
            names, types = [*names, *more], kinds | types
    return names, types, open_ended


def _shown(value: Any) -> str:
    """The value as it would be typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace("'", "") if isinstance(value, dict | list) else str(value)
