"""Turn errors of Hydra into one or two plain lines."""

import re

from hydra.errors import OverrideParseException

from lightning_gen.config.tree import all_keys, config_dir
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
        return "An option of a config group is the name of one of its files, such as model=vae, not a number."
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
    key = re.search(r"full_key: (\S+)", str(cause))
    if key and "is not in struct" in str(cause):
        return f"There is no config key {key.group(1)!r}.{did_you_mean(key.group(1), near(key.group(1)))}"
    lines = [line.strip() for line in (text + "\n" + str(error.__cause__ or "")).splitlines() if line.strip()]
    useful = [line for line in dict.fromkeys(lines) if not re.match(r"(full_key|object_type|See |Set the env)", line)]
    return " ".join(useful[:2])


def unknown_option(group: str, word: str, listed: list[str]) -> str:
    options = [option for option in listed if option != "base"]  # what the options of a group share
    return f"{group}={word} does not exist: use one of {', '.join(options)}.{did_you_mean(word, options)}"


def near(key: str) -> list[str]:
    """All keys at the same depth as this one, to suggest one of them."""
    return [known for known in all_keys() if known.count(".") == key.count(".") and known != key]
