"""The list of all config keys: python -m lightning_gen.config.reference > docs/keys.md

Defaults and meanings come from the files of conf/ and their comments, types and ranges from where the check takes
them (config/schema.py), so the list cannot differ from either.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pytorch_lightning import Trainer as LightningTrainer

from lightning_gen.config.groups import GROUPS, Trainer
from lightning_gen.config.schema import arguments_of
from lightning_gen.config.tree import config_dir
from lightning_gen.config.types import hints, in_words, is_checked
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.objectives.schedules import Schedule, is_schedule

HEAD = """# All config keys

Set a key with `KEY=VALUE` on the command line, and choose an option of a group with `GROUP=NAME`. Types and ranges
are checked before anything is built. A number of `model`, and `ema.half_life`, can be a schedule over the images
seen, `KEY={values:[0,1],images:[0,128000]}`: see [gans.md](gans.md#schedules).

`python -m lightning_gen.config.reference > docs/keys.md` writes this page.
"""
SKIPPED = ("defaults", "hydra")
HYDRA_KEYS = ("_target_", "_partial_")


class Key(NamedTuple):
    """One key of a config file."""

    name: str  # dotted, within the file
    kind: str  # type and range in words; empty if anything is allowed
    default: str
    meaning: str


def keys_of(file: Path, group: type | None) -> list[Key]:
    """The keys of a config file in order; `group` is the schema of a group that builds no object."""
    text = file.read_text(encoding="utf-8")
    tree = yaml.safe_load(text) or {}
    return list(_walk(tree, comments(text), group, tree))


def comments(text: str) -> dict[str, str]:
    """The comment of each key by dotted name: on its line, or above it if the comment starts with a capital."""
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    last = above = ""
    for line in text.splitlines():
        key = re.match(r"( *)([\w.]+):(.*)", line)
        if key:
            while stack and stack[-1][0] >= len(key[1]):
                stack.pop()
            stack.append((len(key[1]), key[2]))
            last = ".".join(name for _, name in stack)
            found[last] = f"{above} {key[3].partition(' # ')[2]}".strip()
            above = ""
        elif re.match(r" +# [A-Z]", line) or (above and re.match(r" +# ", line)):
            above = f"{above} {line.strip(' #')}".strip()
        elif re.match(r" +# ", line) and last:  # continued from the line above
            found[last] += " " + line.strip(" #")
    return found


def _walk(node: dict[str, Any], said: dict[str, str], group: type | None, root: Any, path: str = "") -> Iterator[Key]:
    types = _types(node, group, root)
    for key, value in node.items():
        name = f"{path}{key}"
        if key in HYDRA_KEYS or (not path and key in SKIPPED):
            continue
        kind = types.get(key)
        if is_schedule(value):
            words = in_words(kind) if is_checked(kind) else ""
            yield Key(name, words, "a schedule", said.get(name, ""))
            for part, default in value.items():
                about = said.get(f"{name}.{part}", "")
                yield Key(f"{name}.{part}", in_words(hints(Schedule)[part]), _default(default), about)
        elif isinstance(value, dict) and value:
            inner = kind if isinstance(kind, type) and kind in GROUPS else None
            yield from _walk(value, said, inner, root, f"{name}.")
        else:
            words = in_words(kind) if kind is not None and is_checked(kind) else ""
            yield Key(name, words, _default(value), said.get(name, ""))


def _types(node: dict[str, Any], group: type | None, root: Any) -> dict[str, Any]:
    """The types of the keys of a node: those of its group, or of what it builds."""
    if group is not None:
        return (hints(LightningTrainer) if group is Trainer else {}) | hints(group)
    if "source" in node:  # a data set: the common keys, and those of its source
        return hints(ImageDataModule) | _arguments(node["source"])
    target = str(node.get("_target_", ""))
    if target.startswith("${"):  # the class of another node of the file
        return _arguments(root.get(target.strip("${}.").split(".")[0]))
    return _arguments(node)


def _arguments(node: Any) -> dict[str, Any]:
    """The types of the arguments of a node's target; {} without a target, or if an optional package is missing."""
    if not isinstance(node, dict) or "_target_" not in node:
        return {}
    try:
        return arguments_of(node, "")[1]
    except UserError:
        return {}


def _default(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value).replace("'", "")


def page() -> str:
    """The whole page."""
    root = config_dir()
    parts = [HEAD, "\n## The run\n", _table(keys_of(root / "train.yaml", GROUPS[0]), "")]
    for folder in sorted({file.parent for file in root.rglob("*.yaml")} - {root}):
        group = folder.relative_to(root).as_posix()
        if group.split("/")[0] in ("experiment", "debug", "hydra"):
            continue
        parts.append(f"\n## `{group}=`\n")
        for file in sorted(folder.glob("*.yaml")):
            keys = keys_of(file, _schema_of(group))
            head = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
            about = "\n".join(line.lstrip("# ") for line in head if not line.startswith("# @"))
            parts.append(
                f"\n### `{file.stem}`\n\n{about}\n" + (_table(keys, f"{_package(file, group)}.") if keys else "")
            )
    return "".join(parts)


def _package(file: Path, group: str) -> str:
    """Where the keys of a file are in the config: what `# @package` in its first line says, else at its group."""
    said = re.match(r"# @package (\S+)", file.read_text(encoding="utf-8"))
    return said[1] if said else {"hardware": "trainer"}.get(group, group.replace("/", "."))


def _schema_of(group: str) -> type | None:
    """The dataclass of a top-level group, by its name."""
    kinds = hints(GROUPS[0])
    kind = kinds.get({"hardware": "trainer"}.get(group, group))
    return kind if isinstance(kind, type) and kind in GROUPS else None


def _table(keys: list[Key], prefix: str) -> str:
    lines = ["", "| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        cells = (f"`{prefix}{key.name}`", key.kind, f"`{key.default}`", key.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
