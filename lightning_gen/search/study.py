"""The study of a search: where its trials are recorded, its sampler and its pruner."""

import inspect
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, PercentilePruner, WilcoxonPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GridSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import Trial

from lightning_gen.config.build import model_class
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.randomness import mix
from lightning_gen.runs.directions import mode_of
from lightning_gen.runs.run import Run
from lightning_gen.search.space import Space

JOURNAL = "study.journal"  # in the directory of the search, next to the trials' run directories


class Grid(GridSampler):
    """Optuna's grid, for asking and telling: `Search` counts the budget, so nothing is stopped here."""

    def after_trial(self, *_: Any) -> None:
        pass


SAMPLERS: dict[str, type[BaseSampler]] = {
    "tpe": TPESampler,
    "cmaes": CmaEsSampler,
    "nsga2": NSGAIISampler,
    "qmc": QMCSampler,
    "random": RandomSampler,
    "grid": Grid,
}
PRUNERS: dict[str, type[BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "percentile": PercentilePruner,
    "hyperband": HyperbandPruner,
    "wilcoxon": WilcoxonPruner,
}
DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
BETWEEN_SEEDS = ("wilcoxon",)  # pruners that compare the results of seeds, not of evaluations

optuna.logging.set_verbosity(logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class JournalLock:
    """A lock that the system releases when its process dies, so that a kill leaves nothing locked."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_storage(url: str | None, directory: Path) -> BaseStorage:
    """The database at `url`, or else the journal file in the directory of the search.

    Raises:
        UserError: the database cannot be reached.
    """
    if url is None:
        journal = directory / JOURNAL
        lock: Any = JournalLock(journal.with_suffix(".lock"))
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    try:
        return RDBStorage(url)
    except Exception as error:  # each driver has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"sweep.storage={url} cannot be opened: {reason}") from error


def open_study(config: DictConfig, directory: Path, space: Space) -> optuna.Study:
    """The study of a search, continued if it exists.

    Args:
        config: the config of the search.
        directory: the directory of the search; its name is the name of the study.
        space: the space, which the grid sampler needs.

    Raises:
        UserError: a setting of `sweep` that does not go with another.
    """
    modes = [mode for _, mode in objectives(config)]
    sweep = config.sweep
    if len(modes) > 1 and sweep.pruner != "none":
        raise UserError(
            f"sweep.pruner={sweep.pruner} needs a single metric: name one in sweep.metrics, or prune none."
        )
    if len(modes) > 1 and sweep.repeat_best:
        raise UserError("sweep.repeat_best needs a single metric: with several, no trial is the best one.")
    if sweep.pruner in BETWEEN_SEEDS and sweep.seeds < 2:
        raise UserError(f"sweep.pruner={sweep.pruner} compares seeds: set sweep.seeds to 2 or more.")
    if len(modes) > 1 and sweep.sampler == "cmaes":
        raise UserError("sweep.sampler=cmaes needs a single metric: use tpe or nsga2.")
    sampler, pruner = make_sampler(config, space, 0), make_pruner(config)
    return optuna.create_study(
        storage=open_storage(sweep.storage, directory),
        study_name=directory.name,
        directions=[DIRECTIONS[mode] for mode in modes],
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )


def objectives(config: DictConfig) -> list[tuple[str, str]]:
    """The metrics that a search optimizes and the direction of each, `min` or `max`.

    Raises:
        UserError: the better direction of a metric is not known, or there are not as many directions as metrics.
    """
    names = list(config.sweep.metrics or [])
    if not names:
        metric, mode = config.checkpoint.monitor, config.checkpoint.mode
        own = model_class(config).monitor
        if metric in (None, own[0]):
            return [(own[0], mode or own[1])]
        names, modes = [metric], [mode] if mode else None
    else:
        modes = list(config.sweep.modes) if config.sweep.modes else None
    if modes is not None and len(modes) != len(names):
        raise UserError(f"sweep.modes={modes} needs one direction for each of sweep.metrics={names}.")
    known = [_direction(name) for name in names] if modes is None else modes
    return list(zip(names, known, strict=True))


def _direction(metric: str) -> str:
    return "min" if metric == "fid" else mode_of(metric, f"sweep.metrics=[{metric}]", "sweep.modes=[{}]")


def make_sampler(config: DictConfig, space: Space, number: int) -> BaseSampler:
    """The sampler of the trial with this number.

    Its seed depends on the number, so that a search that was interrupted does not repeat its first draws.

    Raises:
        UserError: `sweep.sampler_options` do not suit it, or a grid over an interval.
    """
    sweep = config.sweep
    own: dict[str, Any] = {"seed": mix(sweep.seed, number) % 2**32}
    if sweep.sampler == "grid":
        own = {"seed": sweep.seed, "search_space": {key: _all_values(key, space[key]) for key in space}}
    if sweep.sampler == "qmc":  # one sequence; where it stands is recorded in the study
        own = {"seed": sweep.seed, "scramble": True, "warn_independent_sampling": False}
    if sweep.sampler == "cmaes":
        own["warn_independent_sampling"] = False
    return _made(SAMPLERS[sweep.sampler], own, sweep.sampler_options, "sweep.sampler_options")


def make_pruner(config: DictConfig) -> BasePruner:
    """The pruner of a search.

    Raises:
        UserError: `sweep.pruner_options` do not suit it.
    """
    own: dict[str, Any] = {"percentile": 25.0} if config.sweep.pruner == "percentile" else {}
    return _made(PRUNERS[config.sweep.pruner], own, config.sweep.pruner_options, "sweep.pruner_options")


def open_trial(run: Run) -> Trial | None:
    """The trial that a run belongs to; None if it has ended, so that the run was resumed outside the search."""
    sweep = run.config.sweep
    storage = open_storage(sweep.storage, run.path.parent)
    study = optuna.load_study(study_name=run.path.parent.name, storage=storage, pruner=make_pruner(run.config))
    trial = Trial(study, storage.get_trial_id_from_study_id_trial_number(study._study_id, sweep.trial))
    return None if storage.get_trial(trial._trial_id).state.is_finished() else trial


def should_prune(trial: Trial, value: float, step: int) -> bool:
    """Report the value of an evaluation, unless it was before an interruption, and ask the pruner."""
    if step not in trial.study._storage.get_trial(trial._trial_id).intermediate_values:
        trial.report(value, step)
    return trial.should_prune()


def _made(kind: Callable[..., Any], own: dict[str, Any], options: DictConfig | None, key: str) -> Any:
    given: dict[str, Any] = OmegaConf.to_container(options) if options else {}  # type: ignore[assignment]
    known = inspect.signature(kind).parameters
    for name in given:
        if name not in known:
            raise UserError(f"{key}: {kind.__name__} of Optuna has no {name}.{did_you_mean(name, known)}")
    try:
        return kind(**(own | given))
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}={given}: {error}") from error


def budget(config: DictConfig, space: Space) -> int:
    """The number of trials of a search: `sweep.trials`, or all points of a grid if they are fewer."""
    if config.sweep.sampler != "grid":
        return config.sweep.trials
    return min(config.sweep.trials, math.prod(len(_all_values(key, space[key])) for key in space))


def _all_values(key: str, distribution: Any) -> list[Any]:
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    if isinstance(distribution, optuna.distributions.IntDistribution) and not distribution.log:
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    raise UserError(f"sweep.sampler=grid needs single values of {key}: use choice(...) or range(...).")


def better_first(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The completed trials of a study with one metric, the best first."""
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
    return sorted(done, key=lambda trial: sign * trial.values[0])
