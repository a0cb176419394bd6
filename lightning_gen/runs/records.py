"""Reads the records of a run directory, which may be empty, cut off, binary, or made to exhaust the memory."""

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_gen.errors import UserError

OVERRIDES = ".hydra/overrides.yaml"
RESUMED_WITH = ".hydra/resumed_overrides.yaml"  # in a run that was resumed
LARGEST = 2**24  # bytes of a record
DEEPEST = 100  # levels of a record
GROUPS = ("model", "networks", "dataset", "trainer", "evaluation", "checkpoint")  # of every config of a run


def read_config(run_dir: Path) -> DictConfig:
    """The content of config.yaml.

    Raises:
        UserError: it is missing, cannot be read, or is not the config of a run.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        raise UserError(f"{run_dir} is not a run directory: it has no config.yaml.")
    config = read_yaml(path)
    missing = [group for group in GROUPS if not isinstance(config, DictConfig) or group not in config]
    if missing or not isinstance(config, DictConfig):
        raise UserError(f"{path} is not the config of a run: it lacks {', '.join(missing)}.")
    return config


def read_yaml(path: Path) -> DictConfig | ListConfig:
    """The content of a YAML file without aliases: a few lines of them can stand for billions of values.

    Raises:
        UserError: the file cannot be read, or has aliases.
    """
    try:
        text = read_text(path)
        _check_size(text)
        return OmegaConf.create(text) if text.strip() else OmegaConf.create({})
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, AssertionError) as error:  # a bare number: assertion
        reason = " ".join(str(error).split())[:200] or "it holds no keys"
        raise UserError(f"{path} cannot be read: {reason}.") from error


def saved_overrides(run_dir: Path, resumed: bool = False) -> list[str]:
    """The overrides of a run as they were typed, without interpolation.

    `resumed`: those with which it was resumed last, if it was, among them those that it was started with.
    """
    file = run_dir / OVERRIDES
    if resumed and (run_dir / RESUMED_WITH).exists():
        file = run_dir / RESUMED_WITH
    saved: Any = OmegaConf.to_container(read_yaml(file)) if file.exists() else []
    return [str(override) for override in saved]


def _check_size(text: str) -> None:
    """Raise a ValueError for YAML that stands for more than its length, or is nested so deeply that it takes long."""
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has YAML aliases (*NAME), which no record of a run has")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def read_summary(run_dir: Path) -> dict[str, Any]:
    """The content of summary.json, or {} if it does not exist.

    Raises:
        UserError: it cannot be read, or its parts have other types than in a summary.
    """
    path = run_dir / "summary.json"
    if not path.exists():
        return {}
    try:
        summary = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): repair it, or remove it.") from error
    kinds = {"metrics": dict, "protocol": dict, "progress": dict, "best": dict, "priors": dict, "provenance": dict}
    lists = {"evaluations", "probes", "rollbacks"}
    right = isinstance(summary, dict) and all(
        isinstance(value, kinds.get(key, object))
        and (key not in lists or (isinstance(value, list) and all(isinstance(one, dict) for one in value)))
        for key, value in summary.items()
    )
    if not right:
        raise UserError(f"{path} is not a summary: repair it, or remove it.")
    return summary


def read_text(path: Path) -> str:
    """The text of a record.

    Raises:
        UserError: it is not a file, too large, or cannot be read.
        ValueError: it is not UTF-8.
    """
    try:
        if not path.is_file():  # a pipe would block
            raise UserError(f"{path} cannot be read: it is not a file.")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} cannot be read: it is larger than {LARGEST / 2**20:.0f} MB.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
