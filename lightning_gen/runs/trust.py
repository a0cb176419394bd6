"""Which classes and functions the config of a run directory may name.

A run directory may come from a stranger. Its config.yaml names the classes and functions that are called when the run
is loaded, so a name such as `pathlib.Path.write_text` would run code of the stranger's choice. Therefore only these
are called: the names in the package's own configs, torch's optimizers, a few callbacks of Lightning, and what the
user trusts in the environment variable `LIGHTNING_GEN_TRUST`, a comma-separated list of names or of packages. The
config of a run directory may read only environment variables that are listed there.
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightning_gen.config.tree import config_dir
from lightning_gen.errors import UserError

TRUST = "LIGHTNING_GEN_TRUST"
OWN_VARIABLES = "LIGHTNING_GEN_"  # start of the environment variables that the package's own configs read
CALLBACKS = ("EarlyStopping", "LearningRateMonitor", "Timer", "DeviceStatsMonitor", "StochasticWeightAveraging")
ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*([^,}\s]+)")


def trusted() -> list[str]:
    """The names that the user trusts."""
    return [name.strip() for name in os.environ.get(TRUST, "").split(",") if name.strip()]


@lru_cache(maxsize=1)
def targets_of_configs() -> frozenset[str]:
    """Every `_target_` in the configs of this package."""
    files = [*config_dir().rglob("*.yaml"), *(config_dir().parent / "sweeps").rglob("*.yaml")]
    named = (target for file in files for _, target in _targets(OmegaConf.to_container(OmegaConf.load(file))))
    return frozenset(target for target in named if "${" not in target)


def check_targets(config: Any, path: Path) -> None:
    """Check that a config calls only trusted classes and functions.

    Args:
        config: plain containers.
        path: the file it was read from, for the message.

    Raises:
        UserError: a name that is neither the package's nor trusted.
    """
    for key, target in _targets(config):
        if not (_known(target) or any(_covers(name, target) for name in trusted())):
            raise UserError(
                f"{path} calls {target} ({key}), which is not part of lightning_gen. If you trust where this run "
                f"comes from, allow it: {TRUST}={target}."
            )


def without_environment(node: Any) -> Any:
    """The same tree with `${oc.env:NAME}` as plain text, except for the package's own and trusted variables."""
    if isinstance(node, dict):
        return {key: without_environment(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_environment(value) for value in node]
    if isinstance(node, str):
        return literal(node) if foreign_variables(node) else node
    return node


def foreign_variables(text: str) -> list[str]:
    """The environment variables that a text reads by `${oc.env:NAME}`, except the package's own and trusted ones."""
    return [n for n in ENVIRONMENT.findall(text) if not n.startswith(OWN_VARIABLES) and n not in trusted()]


def literal(text: str) -> str:
    """The text, escaped so that OmegaConf does not interpolate it."""
    return re.sub(r"(?<!\\)\$\{", r"\\${", text)


def _known(target: str) -> bool:
    callbacks = {f"pytorch_lightning.callbacks.{name}" for name in CALLBACKS}
    return (
        target in targets_of_configs()
        or target in callbacks
        or re.fullmatch(r"torch\.optim\.[A-Z]\w+", target) is not None
    )


def _covers(name: str, target: str) -> bool:
    """Whether a trusted name is this target, or a package that contains it."""
    return target == name or target.startswith(f"{name}.")


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The key and the value of each `_target_` in a tree."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield path or "the config", str(value)
            else:
                yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")
