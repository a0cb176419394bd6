"""Where the configs lie, and what is in them."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

PACKAGE = Path(__file__).parents[1]


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


def all_keys() -> list[str]:
    """Every dotted key of the default config and of each option of its groups."""
    keys: set[str] = set()

    def walk(node: Any, prefix: str) -> None:
        for key in node if isinstance(node, dict) else ():
            keys.add(prefix + key)
            walk(node[key], f"{prefix}{key}.")

    for file in config_dir().rglob("*.yaml"):
        group = file.parent.relative_to(config_dir()).parts
        node = OmegaConf.to_container(OmegaConf.load(file))
        package = {"hardware": "trainer"}.get(group[0], ".".join(group)) if group else ""
        walk(node, f"{package}." if package else "")
        keys.update(group[:1])
    return sorted(keys)
