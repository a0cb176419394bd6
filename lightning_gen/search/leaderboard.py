"""The trials of a search, or any folder of runs, in order of what was optimized."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.runs.comparison import expanded
from lightning_gen.runs.directions import direction, target
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import COMPLETE, Run
from lightning_gen.search.results import Curve, curve, has_value, value_of
from lightning_gen.search.space import logarithmic_keys
from lightning_gen.search.study import DIRECTIONS

REPEATS = "repeats_of_"  # folders of the best trial's repeats, which are no trials
# Overrides that do not tell trials apart: settings of the search, repeats, and where things go.
NOT_A_VALUE = (
    "sweep.",
    "sweeps",
    "seed",
    "hydra",
    "resume",
    "logger",
    "report",
    "checkpoint.monitor",
    "checkpoint.mode",
)


@dataclass
class Entry:
    """One setting: a trial, whose runs differ only in the seed."""

    params: dict[str, str]
    name: str = ""  # of the run; of several runs, that of their folder, or their names if it has other entries, too
    paths: list[Path] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    results: list[list[float]] = field(default_factory=list)  # a list of values for each run
    curves: list[Curve] = field(default_factory=list)

    @property
    def completed(self) -> bool:
        """Whether all runs of the setting were completed with a value of each metric."""
        return set(self.statuses) == {"completed"} and all(map(math.isfinite, self.values))

    @property
    def status(self) -> str:
        """`completed`, or the first status that is not; `collapsed` if the samples of a run have."""
        other = next((status for status in self.statuses if status != "completed"), "completed")
        collapsed = other == "completed" and any("collapse" in warning for warning in self.warnings)
        return "collapsed" if collapsed else other

    @property
    def values(self) -> list[float]:
        """The mean over runs of each metric."""
        return [statistics.fmean(column) for column in zip(*self.results, strict=True)]

    @property
    def shown(self) -> list[str]:
        """The mean of each metric, with the standard deviation over runs if there are several."""
        columns = list(zip(*self.results, strict=True))
        several = [len(column) > 1 and self.completed for column in columns]
        spreads = [f" ± {statistics.stdev(c):.2g}" if many else "" for c, many in zip(columns, several, strict=True)]
        return [f"{mean:.4g}{spread}" for mean, spread in zip(self.values, spreads, strict=True)]


@dataclass
class Leaderboard:
    """Entries, the best first; with several metrics, those on the Pareto front first."""

    metrics: list[str]
    modes: list[str]
    entries: list[Entry]

    def front(self) -> list[Entry]:
        """The completed entries that no other one beats in every metric; with one metric, the best one."""
        signs = [1 if mode == "min" else -1 for mode in self.modes]
        done = [entry for entry in self.entries if entry.completed]
        points = [[sign * value for sign, value in zip(signs, entry.values, strict=True)] for entry in done]

        def beaten(point: list[float]) -> bool:
            return any(o != point and all(a <= b for a, b in zip(o, point, strict=True)) for o in points)

        return [entry for entry, point in zip(done, points, strict=True) if not beaten(point)]


def trials_in(paths: Iterable[Path]) -> list[Path]:
    """The run directories at these paths and below, without the repeats of a best trial."""
    return [path for path in expanded(paths) if not any(part.startswith(REPEATS) for part in path.parts)]


def leaderboard(runs: Sequence[Run], metrics: Sequence[str] = ()) -> Leaderboard:
    """The runs in order; those that differ only in the seed are one entry.

    Args:
        runs: at least one run.
        metrics: names such as `eval/kid`, whose last values count; empty: what the search optimized, or the metric of
            best.ckpt, whose best value over the run counts.

    Raises:
        UserError: no metric is given and the runs have different ones, no run has the metric, or its better direction
            is not known.
    """
    names = list(metrics) or _metrics_of(runs)
    for name in metrics:
        _check_measured(name, runs)
    modes = [_mode(name, runs) for name in names]
    typed = {run.path: _typed(run.path) for run in runs}
    differing = _differing(list(typed.values()))
    entries: dict[str, Entry] = {}
    for run in runs:
        params = {key: typed[run.path][key] for key in differing if key in typed[run.path]}
        summary = run.read_summary()
        entry = entries.setdefault(repr(sorted(params.items())), Entry(params))
        entry.paths.append(run.path)
        status = str(summary.get("status", "unknown"))
        entry.statuses.append("completed" if status in COMPLETE else status)
        entry.warnings += summary.get("warnings", [])
        entry.results.append([value_of(summary, name) for name in names])
        entry.curves.append(curve(run.path / "metrics.csv", names[0]))
    made = Leaderboard(names, modes, list(entries.values()))
    _give_names(made.entries)
    front = [id(entry) for entry in made.front()]
    sign = 1 if modes[0] == "min" else -1

    def place(entry: Entry) -> tuple[bool, bool, float]:
        value = entry.values[0]
        return not entry.completed, id(entry) not in front, sign * value if math.isfinite(value) else math.inf

    made.entries.sort(key=place)
    return made


def as_study(board: Leaderboard) -> optuna.Study:
    """The completed entries as a study in memory, for Optuna's importances and plots; keys by their short names."""
    short = short_names([key for entry in board.entries for key in entry.params])
    study = optuna.create_study(directions=[DIRECTIONS[mode] for mode in board.modes])
    done = [entry for entry in board.entries if entry.completed]
    done.sort(key=lambda entry: (len(entry.paths[0].name), entry.paths[0].name))  # as they were begun
    keys = [key for key in short if done and all(key in entry.params for entry in done)]
    values = {key: [_parsed(entry.params[key]) for entry in done] for key in keys}
    logarithmic = logarithmic_keys(done[0].paths[0]) if done else set()
    kinds = {key: _distribution(values[key], key in logarithmic) for key in keys}
    for index, entry in enumerate(done):
        params = {short[key]: _as(kinds[key], values[key][index]) for key in keys}
        distributions = {short[key]: kinds[key] for key in keys}
        made = {"values": entry.values, "params": params, "distributions": distributions}
        study.add_trial(optuna.create_trial(**made, user_attrs={"run": entry.name}))  # type: ignore[arg-type]
    return study


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each key and the shortest end of it that no other key has: `lr` for model.optimizer.lr."""
    found = {}
    unique = list(dict.fromkeys(keys))
    for key in unique:
        parts = key.split(".")
        ends = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        found[key] = next(e for e in ends if sum(o == e or o.endswith(f".{e}") for o in unique) == 1)
    return found


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of the variance of the first metric each key explains (fANOVA, Hutter et al. 2014)."""
    trials = study.trials
    if len(trials) < 4 or len({tuple(trial.values) for trial in trials}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    target = None if len(study.directions) == 1 else (lambda trial: trial.values[0])
    return optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)


def rounded(value: str) -> str:
    """A number with four significant digits; any other value as it is."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value


def command_of(path: Path, seed: bool = True) -> str:
    """The command line that trains the run at this path again, on its own, with its `seed` or without one."""
    import shlex

    left_out = ("sweep.", "hydra", "resume", *(() if seed else ("seed",)))
    typed = [text for text in saved_overrides(path) if not text.lstrip("+").startswith(left_out)]
    return shlex.join(["python", "train.py", *typed])


def _give_names(entries: list[Entry]) -> None:
    """Name each entry by its run, by the folder that only its runs are in, or by all of its runs."""
    folders = Counter(folder for entry in entries for folder in {path.parent for path in entry.paths})
    for entry in entries:
        within = {path.parent for path in entry.paths}
        names = [path.name if len(folders) == 1 else f"{path.parent.name}/{path.name}" for path in entry.paths]
        own = len(entry.paths) > 1 and len(within) == 1 and folders[entry.paths[0].parent] == 1
        entry.name = entry.paths[0].parent.name if own else ", ".join(names)


def _typed(path: Path) -> dict[str, str]:
    """What was set on the command line of a run, by key."""
    pairs = (text.lstrip("+").partition("=") for text in saved_overrides(path))
    return {key: value for key, _, value in pairs if not key.startswith(NOT_A_VALUE)}


def _differing(typed: list[dict[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for one in typed for key in one)
    return [key for key in keys if len({one.get(key) for one in typed}) > 1]


def _metrics_of(runs: Sequence[Run]) -> list[str]:
    searched = [list((run.config.get("sweep") or {}).get("metrics") or []) for run in runs]
    if len(searched[0]) > 1 and all(names == searched[0] for names in searched):
        return searched[0]
    found = {name for run in runs if (name := run.read_summary().get("best", {}).get("metric"))}
    if not found:
        raise UserError("None of these runs has a best.ckpt, so there is nothing to order them by.")
    if len(found) != 1:
        known = ", ".join(sorted(found))
        raise UserError(
            f"These runs have no metric in common that decided best.ckpt ({known}): name one with --metric."
        )
    return list(found)


def _check_measured(metric: str, runs: Sequence[Run]) -> None:
    summaries = [run.read_summary() for run in runs]
    known = {name for summary in summaries for name in summary.get("metrics", {})}
    if known and not any(has_value(summary, metric) for summary in summaries):  # known: one has ended
        guess = did_you_mean(metric, known)
        raise UserError(f"--metric {metric}: none of these runs has a value of it.{guess}")


def _mode(metric: str, runs: Sequence[Run]) -> str:
    better = min if metric == "fid" else direction(metric)
    if better is not None:
        return better.__name__
    for run in runs:
        sweep: Any = run.config.get("sweep")
        if sweep and sweep.modes and metric in (sweep.metrics or []):
            return str(sweep.modes[list(sweep.metrics).index(metric)])
        if metric == run.config.checkpoint.monitor and run.config.checkpoint.mode:
            return str(run.config.checkpoint.mode)
    best_at = target(metric)
    why = "The better direction of {} is not known" if best_at is None else f"{{}} is best at {best_at:g}"
    raise UserError(f"{why.format(metric)}, so it gives no order: name another with --metric.")


def _parsed(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _distribution(values: list[int | float | str], logarithmic: bool = False) -> BaseDistribution:
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return CategoricalDistribution(list(dict.fromkeys(map(str, values))))
    low, high = min(numbers), max(numbers)
    log = low > 0 and (logarithmic or high / low > 20)
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _as(kind: BaseDistribution, value: Any) -> Any:
    return str(value) if isinstance(kind, CategoricalDistribution) else value
