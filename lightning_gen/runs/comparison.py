"""The table of runs against metrics; numbers from different protocols never share a column."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightning_gen.data.words import IMAGES
from lightning_gen.errors import UserError
from lightning_gen.runs.directions import chooser
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import Run

# Parts of a protocol that say which model was measured, not how. They belong to the row, or do not matter.
OF_THE_MODEL = ("checkpoint", "step", "prior", "ema", "batch_norm", "evaluation", "versions")
# Runs that differ only in these are repeats.
NOT_OF_THE_EXPERIMENT = ("seed", "id", "command", "resume", "logger", "sweep", "report")
HIDDEN = ("_std", "_standard_error", "_floor", "_noise", "c2st_p", "c2st_low", "c2st_high", "_train", "_fake")
MOST_KEYS = 4  # most keys in the name of a row

Column = tuple[str, str]  # a metric and its protocol as text


@dataclass
class Row:
    """One model at one checkpoint: runs that differ only in the seed."""

    name: str
    runs: list[Path] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    checkpoint: str = ""
    values: dict[Column, list[float]] = field(default_factory=dict)

    def finite(self, column: Column) -> list[float]:
        """The values that are numbers: a run that has diverged may have NaN."""
        return [value for value in self.values.get(column, []) if math.isfinite(value)]

    def mean(self, column: Column) -> float | None:
        """The mean over seeds of the finite values; NaN if there is a value but none is finite."""
        values = self.finite(column)
        return statistics.fmean(values) if values else math.nan if self.values.get(column) else None

    def std(self, column: Column) -> float | None:
        """The sample standard deviation over seeds; None for a single run."""
        values = self.finite(column)
        return statistics.stdev(values) if len(values) > 1 else None

    def cell(self, column: Column) -> str:
        """Mean, standard deviation over seeds, and the number of runs if not all of them have the metric."""
        mean, std, count = self.mean(column), self.std(column), len(self.finite(column))
        if mean is None:
            return ""
        of = f" ({count} of {len(self.runs)})" if count < len(self.runs) else ""
        return (f"{mean:.4g}" if std is None else f"{mean:.4g} ± {std:.2g}") + of


@dataclass
class Comparison:
    """The table: rows, columns, their headers, and notes on columns of one metric that differ in protocol."""

    rows: list[Row]
    columns: list[Column]
    headers: dict[Column, str]
    notes: list[str]

    def best(self, column: Column) -> float | None:
        """The best mean of a column with a better direction and at least two rows; real images do not compete."""
        better = chooser(column[0])
        means = [m for row in self.rows if row.runs and (m := row.mean(column)) is not None and math.isfinite(m)]
        return None if better is None or len(means) < 2 else better(means)

    def is_best(self, row: Row, column: Column) -> bool:
        """Whether the row has the best mean of the column."""
        return bool(row.runs) and row.mean(column) is not None and row.mean(column) == self.best(column)


def expanded(paths: Iterable[Path]) -> list[Path]:
    """Run directories; a folder that is not one stands for all runs below it."""
    found: dict[Path, Path] = {}
    for path in paths:
        below = [] if (path / "config.yaml").exists() else sorted(path.glob("**/config.yaml"))
        for run in [file.parent for file in below if ".hydra" not in file.parts] or [path]:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def comparison(runs: list[Run]) -> Comparison:
    """The table of these runs.

    Raises:
        UserError: no run has a number with a protocol.
    """
    rows: dict[tuple[str, str], Row] = {}
    real: dict[str, Row] = {}
    protocols: dict[Column, dict[str, Any]] = {}
    names = row_names(runs)
    for run in runs:
        for checkpoint, numbers in measured(run).items():
            row = rows.setdefault((names[run.path], checkpoint), Row(names[run.path], checkpoint=checkpoint))
            row.runs.append(run.path)
            row.seeds.append(run.config.seed)
            for column, (value, protocol) in numbers.items():
                protocols[column] = protocol
                row.values.setdefault(column, []).append(value)
        for name, column, value in bounds(run):
            real.setdefault(name, Row(name)).values[column] = [value]
    if not protocols:
        raise UserError("None of these runs has a number yet: run `lightning-gen evaluate RUN` first.")
    metrics = list(dict.fromkeys(metric for metric, _ in protocols))
    columns = sorted(protocols, key=lambda column: metrics.index(column[0]))  # one metric's are adjacent
    headers, notes = headers_of(protocols)
    bounding = [row for row in real.values() if set(row.values) & set(columns)]
    return Comparison([*rows.values(), *bounding], columns, headers, notes)


# -- reading ---------------------------------------------------------------------------------------------------


def entries(run: Run) -> Iterable[tuple[dict[str, float], dict[str, Any]]]:
    """Metrics and protocols: those at the end of training, then those of `lightning-gen evaluate`, newest last."""
    summary = run.read_summary()
    for entry in (summary, *summary.get("evaluations", [])):
        yield entry.get("metrics", {}), entry.get("protocol", {})


def column_of(metric: str, protocol: dict[str, Any]) -> Column:
    """The column of a number: equal only if everything about how it was measured is equal."""
    how = {key: value for key, value in flat(protocol).items() if key.split(".")[0] not in OF_THE_MODEL}
    return metric.removeprefix("eval/"), repr(sorted(how.items()))


def measured(run: Run) -> dict[str, dict[Column, tuple[float, dict[str, Any]]]]:
    """The numbers of a run with their protocols, by checkpoint and column."""
    found: dict[str, dict[Column, tuple[float, dict[str, Any]]]] = {}
    for metrics, protocols in entries(run):
        for metric, value in metrics.items():
            protocol = protocols.get(metric)
            if protocol is None or metric.endswith(HIDDEN):
                continue
            checkpoint = str(protocol.get("checkpoint", "last"))
            if "prior" in protocol:  # codes drawn from another density make another model
                checkpoint += f", prior {protocol['prior']}"
            found.setdefault(checkpoint, {})[column_of(metric, protocol)] = (float(value), flat(protocol))
    return found


def bounds(run: Run) -> Iterable[tuple[str, Column, float]]:
    """The ends of each scale: row name, column and value for real images and for noise in place of samples."""
    for metrics, protocols in entries(run):
        for suffix in ("_floor", "_noise"):
            for metric, value in metrics.items():
                own = protocols.get(metric.removesuffix(suffix))
                if metric.endswith(suffix) and own is not None and metric in protocols:
                    name = protocols[metric]["images"]
                    if name != own["images"]:
                        yield name, column_of(metric.removesuffix(suffix), own), float(value)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dicts, by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def describe(protocol: dict[str, Any], unit: str = IMAGES) -> str:
    """The protocol in a few words; summary.json holds all of it. `unit`: what is counted, see `Run.unit`."""
    if not protocol:
        return ""
    parts = []
    if "n_fake" in protocol:
        averaged = " of the average" if protocol.get("ema") and protocol["images"] == "samples" else ""
        parts.append(f"{protocol['n_fake']:,} {protocol['images']}{averaged}")
    if "n_real" in protocol:
        parts.append(f"{protocol['n_real']:,} {protocol['split']} {unit}")
    if "n_fake" in protocol and "extractor" in protocol:
        parts.append(protocol["extractor"])
    return ", ".join(parts)


# -- naming ----------------------------------------------------------------------------------------------------


def row_names(runs: list[Run]) -> dict[Path, str]:
    """`gan on digits`, followed by the keys in which runs of that model and data set differ; equal for repeats.

    Recipes differ in many keys. Their names are the overrides of the command line, if these distinguish them as well.
    """
    configs = {}
    for run in runs:
        whole = OmegaConf.to_container(run.config)
        assert isinstance(whole, dict)
        configs[run.path] = flat({str(k): v for k, v in whole.items() if k not in NOT_OF_THE_EXPERIMENT})
    names = {}
    for path, config in configs.items():
        like = [c for c in configs.values() if all(c.get(k) == config.get(k) for k in ("model.name", "dataset.name"))]
        differing = sorted({key for other in like for key in config if other.get(key) != config[key]})
        names[path] = f"{config.get('model.name')} on {config.get('dataset.name')}" + "".join(
            f", {key}={config[key]}" for key in differing
        )
        apart = {key for other in like for key in {*other, *config} if other.get(key) != config.get(key)}
        if len(apart) > MOST_KEYS:
            asked = overrides_of(path)
            if all((overrides_of(other) == asked) == (c == config) for other, c in configs.items() if c in like):
                names[path] = ", ".join(asked)
    return names


def overrides_of(run_dir: Path) -> list[str]:
    """The overrides of a run, without those in which repeats differ."""
    return [
        override
        for override in saved_overrides(run_dir)
        if override.split("=")[0].split(".")[0] not in NOT_OF_THE_EXPERIMENT
    ]


def headers_of(protocols: dict[Column, dict[str, Any]]) -> tuple[dict[Column, str], list[str]]:
    """Each column's header, the metric and what distinguishes its protocols; and notes about such metrics."""
    headers, notes = {}, []
    for metric in dict.fromkeys(column[0] for column in protocols):
        same = {column: how for column, how in protocols.items() if column[0] == metric}
        keys = sorted({key for how in same.values() for key in how if key.split(".")[0] not in OF_THE_MODEL})
        differing = [k for k in keys if len({repr(how.get(k)) for how in same.values()}) > 1]
        for column, how in same.items():
            said = ", ".join(f"{key}={how.get(key, 'none')}" for key in differing)
            headers[column] = f"{metric} ({said})" if said else metric
        if differing:
            notes.append(
                f"{metric}: {len(same)} protocols that do not compare; they differ in {', '.join(differing)}"
            )
    return headers, notes
