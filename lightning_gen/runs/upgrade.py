"""Configs of earlier versions, brought to the names that are in use now."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

# Modules that `_target_` named before, and where their contents are now.
MOVED = {
    "lightning_gen.schedules.": "lightning_gen.objectives.schedules.",
    "lightning_gen.loggers.": "lightning_gen.training.loggers.",
    "lightning_gen.objectives.mmd.": "lightning_gen.objectives.divergences.",
}


def upgraded(config: DictConfig) -> DictConfig:
    """The config of a run of any earlier version, as the present version reads it; the argument stays as it is."""
    return OmegaConf.create(_with_targets(OmegaConf.to_container(config)))


def _with_targets(node: Any) -> Any:
    """The same tree, each `_target_` in its present module."""
    if isinstance(node, list):
        return [_with_targets(value) for value in node]
    if not isinstance(node, dict):
        return node
    result = {key: _with_targets(value) for key, value in node.items()}
    target = result.get("_target_")
    if isinstance(target, str):
        old = next((prefix for prefix in MOVED if target.startswith(prefix)), "")
        result["_target_"] = MOVED.get(old, "") + target.removeprefix(old)
    return result
