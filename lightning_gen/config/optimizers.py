"""Another class of optimizer than the config's: arguments that it does not take are left out."""

import inspect
from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from lightning_gen.errors import UserError

# Arguments that the package's configs give to their optimizers. Any other argument was typed by the user.
OF_THE_CONFIG = ("betas", "eps", "fused")


def check_classes(config: DictConfig) -> None:
    """Check, before interpolations are resolved, that each optimizer of the model is a group of keys.

    Raises:
        UserError: it is the name of an optimizer instead.
    """
    if not OmegaConf.is_dict(config.get("model")):
        return  # which the check of the config tells
    for key in config.model:
        if OmegaConf.is_interpolation(config.model, key):  # the same as another player's, as in model=vae_gan
            continue
        if str(key).endswith("optimizer") and not OmegaConf.is_dict(config.model._get_node(key)):
            raise UserError(
                f"model.{key} is a group of keys: name the class of the optimizer, model.{key}._target_="
                f"torch.optim.RMSprop"
            )


def leave_out_foreign(config: DictConfig) -> list[str]:
    """Remove those arguments of the config's optimizers that the chosen class does not have; returns their keys.

    With `model.optimizer._target_=torch.optim.RMSprop`, for example, Adam's `betas` would stay behind.
    """
    removed = []
    for path, node in _optimizers(config.get("model"), "model"):
        accepted = _arguments(node["_target_"])
        for key in OF_THE_CONFIG:
            if accepted is not None and key in node and key not in accepted:
                del node[key]
                removed.append(f"{path}.{key}")
    return removed


def _optimizers(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """The nodes below this one that build an optimizer, with their keys."""
    for name, value in node.items() if isinstance(node, DictConfig) else ():
        key = str(name)
        if isinstance(value, DictConfig) and key.endswith("optimizer") and "_target_" in value:
            yield f"{path}.{key}", value
        else:
            yield from _optimizers(value, f"{path}.{key}")


def _arguments(target: str) -> list[str] | None:
    """The arguments of an optimizer's class; None if they are not known, which the check of the config tells."""
    try:
        parameters = inspect.signature(get_object(target)).parameters
    except Exception:  # importing a module may raise anything
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return list(parameters)
