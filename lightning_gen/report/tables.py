"""The tables of the page: what ran, metrics, and how configs differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from lightning_gen.data.words import worded
from lightning_gen.errors import UserError
from lightning_gen.files import shortest
from lightning_gen.progress import duration
from lightning_gen.report.glossary import meaning
from lightning_gen.report.history import History, best
from lightning_gen.runs.comparison import NOT_OF_THE_EXPERIMENT, Comparison, comparison, describe, flat
from lightning_gen.runs.run import Run

BESIDE = ("_train", "_floor", "_noise", "_std", "_standard_error")  # shown next to a number, not in a separate row


@dataclass
class Measured:
    """A row of the table of metrics."""

    name: str
    meaning: str
    last: str
    best: str
    training: str
    real: str
    noise: str
    protocol: str


def facts(run: Run) -> dict[str, str]:
    """What ran, by name; empty where it is not recorded."""
    summary = run.read_summary()
    progress, made = summary.get("progress", {}), summary.get("provenance", {})
    versions, seconds = made.get("versions") or {}, progress.get("seconds")
    wanted = ("torch", "pytorch-lightning", "lightning-gen")
    found: dict[str, Any] = {
        "Directory": shortest(run.path),
        "Model": run.config.model.get("name"),
        "Data": run.config.dataset.get("name"),
        "Seed": run.config.get("seed"),
        "Status": summary.get("status"),
        "Error": summary.get("error"),
        "Warnings": "; ".join(map(str, summary.get("warnings") or [])),
        "Steps": _count(progress.get("step")),
        worded("Images seen", run.unit): _count(progress.get("images_seen")),
        "Time": duration(seconds) if _is_number(seconds) else "",
        "Parameters": _count(summary.get("parameters")),
        "Device": made.get("device"),
        "Code": made.get("git"),
        "Versions": ", ".join(f"{name} {versions[name]}" for name in wanted if name in versions),
        "Ended": made.get("time"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def metrics(run: Run, history: History) -> list[Measured]:
    """The numbers at the end of training, the best of each, the ends of its scale, and how it was measured."""
    summary = run.read_summary()
    values = {name: value for name, value in summary.get("metrics", {}).items() if _is_number(value)}
    rows = []
    for name in values:
        if not name.startswith("eval/") or (name.endswith(BESIDE) and _owner(name) in values):
            continue
        short, found = name.removeprefix("eval/"), best(history, name)
        error = next((values[name + end] for end in ("_std", "_standard_error") if name + end in values), None)
        rows.append(
            Measured(
                short,
                worded(meaning(short), run.unit),
                number(values[name]) + (f" ± {error:.2g}" if error is not None else ""),
                f"{number(found[0])} at step {found[1]:,}" if found else "",
                number(values.get(f"{name}_train")),
                number(values.get(f"{name}_floor")),
                number(values.get(f"{name}_noise")),
                _how(summary.get("protocol", {}).get(name), run.unit),
            )
        )
    return rows


def compared(runs: list[Run]) -> Comparison | None:
    """The runs against their metrics; None if no run has a number yet."""
    try:
        return comparison(runs)
    except UserError:
        return None


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The keys in which the configs of these runs differ, with the value of each run."""
    trees = [flat(_plain(run)) for run in runs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    found = {key: [str(tree.get(key, "")) for tree in trees] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def config_text(run: Run) -> str:
    """The whole config, as YAML."""
    return OmegaConf.to_yaml(run.config)


def number(value: Any) -> str:
    """Four significant digits; nothing for what is not a number."""
    return f"{value:.4g}" if _is_number(value) else ""


def _count(value: Any) -> str:
    return f"{value:,.0f}" if _is_number(value) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _how(protocol: Any, unit: str) -> str:
    """How a number was measured; nothing for a protocol that this version does not know."""
    try:
        return describe(protocol or {}, unit)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _owner(name: str) -> str:
    end = next(end for end in BESIDE if name.endswith(end))
    return name.removesuffix(end)


def _plain(run: Run) -> dict[str, Any]:
    tree = OmegaConf.to_container(run.config)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items() if key not in NOT_OF_THE_EXPERIMENT}
