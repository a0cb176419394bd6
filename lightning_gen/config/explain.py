"""Turn errors of Hydra into one or two plain lines."""

import re
from pathlib import Path
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from lightning_gen.config.tree import all_keys, config_dir, options_of_groups
from lightning_gen.errors import UserError, did_you_mean


def explain(error: Exception) -> str:
    """What is wrong, in one or two lines, with the nearest existing name."""
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read. Put a value with =, ~, commas, brackets or non-ASCII letters in "
            f"quotes, for the shell and for Hydra: \"dataset.root='DIR=1'\"."
        )
    if "Config group override must be a string or a list" in text:
        return "An option of a config group is the name of one of its files, such as model=vae, not a number or null."
    cause = error.__cause__ or error
    missing_option = re.search(r"Could not find '([^']+)'\n+Available options in '([^']+)':\n((?:\t.*\n?)*)", text)
    if missing_option:
        wanted, group, listed = missing_option.groups()
        return unknown_option(group, wanted.rsplit("/", 1)[-1], listed.split())
    missing_file = re.search(r"Could not load '([^']+)/([^'/]+)'", text)
    if missing_file:
        group, word = missing_file.groups()
        options = sorted(file.stem for file in (config_dir() / group).glob("*.yaml"))
        if options:
            return unknown_option(group, word, options)
    missing_group = re.search(r"Could not override '([^'@]+)[^']*'\.\s+(No match|Did you mean)", text)
    if missing_group:
        return no_such_group(missing_group.group(1))
    key = re.search(r"full_key: (\S+)", str(cause))
    if key and "is not in struct" in str(cause):
        return no_such_key(key.group(1))
    if key and "Missing key" in str(cause):
        return lacks(key.group(1))
    lines = [line.strip() for line in (text + "\n" + str(error.__cause__ or "")).splitlines() if line.strip()]
    useful = [line for line in dict.fromkeys(lines) if not re.match(r"(full_key|object_type|See |Set the env)", line)]
    return " ".join(useful[:2])


def unknown_option(group: str, word: str, listed: list[str]) -> str:
    options = [option for option in listed if option != "base"]  # what the options of a group share
    return f"{group}={word} does not exist: use one of {', '.join(options)}.{did_you_mean(word, options)}"


def no_such_group(group: str) -> str:
    """The message for GROUP=NAME if the chosen config has no such group."""
    parent, _, part = group.rpartition("/")
    files = sorted((config_dir() / parent).glob("*.yaml")) if parent else []
    owners = [file.stem for file in files if part in _groups_of(file)]
    if not owners:
        return f"There is no config group {group!r}.{did_you_mean(group, options_of_groups())}"
    return f"{group} is not a part of this {parent}, but of {parent}={', '.join(owners)}."


def _groups_of(file: Path) -> set[str]:
    """The groups in the defaults list of a config, such as {"loss", "penalty"} of conf/model/gan.yaml."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    found: set[str] = set()
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            found |= {str(group).removeprefix("optional ") for group in entry}
        elif entry != "_self_":  # another file of the folder, on which this one is based
            found |= _groups_of(file.with_name(f"{entry}.yaml"))
    return found


def no_such_key(key: str) -> str:
    """The message for KEY=VALUE if there is no such key."""
    if "/" in key and key.endswith("optimizer"):
        named = f"{key.replace('/', '.')}._target_=torch.optim.RMSprop"
        return f"{key} is not a config group. Name the class of the optimizer: {named}"
    group, _, option = key.rpartition(".")
    group = group.replace(".", "/")
    if option in options_of_groups().get(group, []):
        return f"There is no config key {key!r} until {group}={option} is chosen."
    inside = sorted((known for known in all_keys() if known.endswith(f".{key}")), key=len)
    return f"There is no config key {key!r}.{did_you_mean(key, near(key)) or did_you_mean(key, inside[:1])}"


def lacks(key: str) -> str:
    """The message for a required key that no config file sets."""
    group, _, name = key.rpartition(".")
    hint = " Its file begins with `defaults: [base]`." if group == "dataset" else ""
    return f"The config of {group or 'the run'} lacks `{name}`.{hint}"


def near(key: str) -> list[str]:
    """All keys at the same depth as this one, to suggest one of them."""
    return [known for known in all_keys() if known.count(".") == key.count(".") and known != key]


def folder_not_made(error: OSError, multirun: bool = False) -> str | None:
    """What to change if the error is that Hydra could not make the run directory, or that of a grid; else None."""
    a_file = isinstance(error, FileExistsError | NotADirectoryError)
    if error.filename is None or (Path(error.filename).exists() and not a_file):
        return None
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    return f"{key}: {error.filename} cannot be made ({error.strerror}): choose another folder."
