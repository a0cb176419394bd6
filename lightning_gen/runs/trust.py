"""What a run directory may do: build what this package's configs name, and nothing else.

A run directory may come from a stranger. Its config.yaml names the classes and functions that are called when the run
is loaded, so a name such as `pathlib.Path.write_text` would run code of the stranger's choice. Only these names are
called: those in the package's own config tree, torch's optimizers, a few callbacks of Lightning, and names that the
user trusts in the environment variable `LIGHTNING_GEN_TRUST` (a comma-separated list of names, or of packages whose
contents are all trusted). Environment variables are not read for a run directory either, unless they are listed
there.
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
OWN_VARIABLES = "LIGHTNING_GEN_"  # environment variables that the package's own configs read begin so
CALLBACKS = ("EarlyStopping", "LearningRateMonitor", "Timer", "DeviceStatsMonitor", "StochasticWeightAveraging")
ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*([^,}\s]+)")


def trusted() -> list[str]:
    """The names that the user trusts, from the environment."""
    return [name.strip() for name in os.environ.get(TRUST, "").split(",") if name.strip()]


@lru_cache(maxsize=1)
def targets_of_configs() -> frozenset[str]:
    """Every `_target_` that a config of this package names."""
    files = [*config_dir().rglob("*.yaml"), *(config_dir().parent / "sweeps").rglob("*.yaml")]
    named = (target for file in files for _, target in _targets(OmegaConf.to_container(OmegaConf.load(file))))
    return frozenset(target for target in named if "${" not in target)


def check_targets(config: Any, path: Path) -> None:
    """Refuse a config that would call anything else.

    Args:
        config: plain containers.
        path: where it was read, for the message.

    Raises:
        UserError: the first name that is neither the package's nor trusted.
    """
    for key, target in _targets(config):
        if not (_known(target) or any(_covers(name, target) for name in trusted())):
            raise UserError(
                f"{path} calls {target} ({key}), which is not part of lightning_gen. If you trust where this run "
                f"comes from, allow it: {TRUST}={target}."
            )


def without_environment(node: Any) -> Any:
    """The same tree with `${oc.env:NAME}` as plain text, but for the package's own variables and trusted ones."""
    if isinstance(node, dict):
        return {key: without_environment(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_environment(value) for value in node]
    if isinstance(node, str):
        foreign = [n for n in ENVIRONMENT.findall(node) if not n.startswith(OWN_VARIABLES) and n not in trusted()]
        return literal(node) if foreign else node
    return node


def literal(text: str) -> str:
    """Text that OmegaConf takes as it is written, without interpolation."""
    return re.sub(r"(?<!\\)\$\{", r"\\${", text)


def _known(target: str) -> bool:
    callbacks = {f"pytorch_lightning.callbacks.{name}" for name in CALLBACKS}
    return (
        target in targets_of_configs()
        or target in callbacks
        or re.fullmatch(r"torch\.optim\.[A-Z]\w+", target) is not None
    )


def _covers(name: str, target: str) -> bool:
    """Whether a trusted name is this target, or a package that holds it."""
    return target == name or target.startswith(f"{name}.")


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The key and the value of each `_target_` of a tree."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield path or "the config", str(value)
            else:
                yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")
