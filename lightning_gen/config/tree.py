"""Where the configs are, and which groups and keys they have."""

from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

PACKAGE = Path(__file__).parents[1]


def config_dir() -> Path:
    """`conf/`: inside an installed package, next to the package in a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def sweeps_of_wandb() -> Path:
    """`sweeps/wandb/`, whose files are for `wandb sweep` and not for Hydra."""
    installed = config_dir() / "sweeps"
    return (installed if installed.is_dir() else PACKAGE.parent / "sweeps") / "wandb"


class Sweeps(SearchPathPlugin):
    """Lets Hydra find `sweeps/` next to `conf/`; in an installed package it is inside `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if config_dir() != PACKAGE / "conf":
            search_path.append("lightning_gen", f"file://{PACKAGE.parent}")


Plugins.instance().register(Sweeps)


def options_of_groups() -> dict[str, list[str]]:
    """The options of each config group: {"model": ["ae", ...], "model/loss": ["hinge", ...], ...}.

    `base` is not an option: it holds what the options of a group share.
    """
    found: dict[str, list[str]] = {}
    for file in sorted(config_dir().rglob("*.yaml")):
        group = file.parent.relative_to(config_dir()).as_posix()
        if group.split("/")[0] not in (".", "hydra") and file.stem != "base" and file.parent != sweeps_of_wandb():
            found.setdefault(group, []).append(file.stem)
    return found


def all_keys() -> list[str]:
    """Every dotted key of the default config and of each option of its groups."""
    keys: set[str] = set()

    def walk(node: Any, prefix: str) -> None:
        for key in node if isinstance(node, dict) else ():
            keys.add(prefix + key)
            walk(node[key], f"{prefix}{key}.")

    for file in config_dir().rglob("*.yaml"):
        group = file.parent.relative_to(config_dir()).parts
        if group[:1] == ("hydra",) or file.parent == sweeps_of_wandb():
            continue
        node = OmegaConf.to_container(OmegaConf.load(file))
        package = {"hardware": "trainer"}.get(group[0], ".".join(group)) if group else ""
        walk(node, f"{package}." if package else "")
        keys.update(group[:1])
    return sorted(keys)


def is_private(config: Any) -> bool:
    """Whether the config of a run trains with differential privacy; configs of earlier versions do not say."""
    return (config.get("privacy") or {}).get("epsilon") is not None
