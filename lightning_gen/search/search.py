"""The loop of a search: ask Optuna for a trial, train it as a run, tell what came out, until the budget is spent."""

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial, TrialState

from lightning_gen.errors import UserError
from lightning_gen.files import shortest, write_atomically
from lightning_gen.search.jobs import Job, Jobs
from lightning_gen.search.space import Space, as_overrides, read_space, values_of_run
from lightning_gen.search.study import better_first, budget, make_sampler, objectives, open_study
from lightning_gen.search.workers import is_orphan, this_process

ATTEMPTS = 3  # a trial that was killed so often is given up
HOPELESS = 3  # so many failures at the start, and the search stops
BEGINNING = 60  # seconds in which another machine has surely begun a trial
OVER_BUDGET = "over budget"  # the status of a trial that two machines began at the same moment


def search(config: DictConfig, launcher: Launcher, params: dict[str, Any], arguments: Sequence[str]) -> float | None:
    """Run a search to the end of its budget and return the best value; None with several metrics.

    The same command continues a search: trials that were interrupted are resumed from their checkpoints, and no
    trial is lost or repeated. The command may run several times at once.

    Args:
        config: the composed config; `config.sweep` has the settings.
        launcher: what runs the jobs.
        params: the space of the sweep's file.
        arguments: the overrides of the command line.

    Raises:
        UserError: a setting is wrong, or the first trials all failed.
    """
    space, fixed = read_space(params, [a for a in arguments if not a.lstrip("+").startswith("resume=")])
    directory = Path(config.hydra.sweep.dir).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    record = directory / "multirun.yaml"  # as Hydra's own sweeper writes, for resume=FOLDER
    if not record.exists():
        write_atomically(record, OmegaConf.to_yaml(config))
    the_search = Search(config, launcher, space, fixed, directory)
    the_search.run()
    return the_search.conclude()


class Search:
    """One worker of a search; see `search`."""

    def __init__(
        self, config: DictConfig, launcher: Launcher, space: Space, fixed: list[str], directory: Path
    ) -> None:
        self.config, self.settings = config, config.sweep
        self.space, self.fixed, self.directory = space, fixed, directory
        self.lock = FileLock(directory / "search.lock")
        self.metrics = objectives(config)
        if len(self.metrics) == 1 and self.settings.metrics and config.checkpoint.monitor is None:
            metric, mode = self.metrics[0]
            self.fixed = [*fixed, f"checkpoint.monitor={metric}", f"checkpoint.mode={mode}"]
        self.jobs = Jobs(launcher, directory, self.fixed, [metric for metric, _ in self.metrics])
        with self.lock:
            self.study = open_study(config, directory, space)
            self.trials = budget(config, space)
            self._check_same()
            self._enqueue()

    def run(self) -> None:
        """Train trials until the budget is spent or nothing is left for this worker."""
        while batch := self._next_batch():
            for number in range(self.settings.seeds):
                self._train(batch, number)
            for trial in batch:
                self._tell(trial)
            self._give_up_if_hopeless()

    def conclude(self) -> float | None:
        """Repeat the best trial with fresh seeds if asked for, and print the result."""
        if len(self.metrics) > 1:
            front = len(self.study.best_trials)
            print(f"{front} trials on the Pareto front: lightning-gen leaderboard {self._where}")
            return None
        if self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            print("Other workers are still busy with trials of this search.")  # the last one concludes it
            return None
        ranking = better_first(self.study)
        if not ranking:
            print("No trial has been completed.")
            return None
        best = ranking[0]
        print(f"best: trial {best.number}, {self._names} {best.values[0]:.4g}, {_shown(best)}")
        if self.settings.repeat_best:
            self._repeat(best)
        print(f"all trials: lightning-gen leaderboard {self._where}")
        return float(best.values[0])

    # -- which trials ---------------------------------------------------------------------------------------

    def _check_same(self) -> None:
        """Check that the study, if it exists, is this search and not another one."""
        now = {
            "space": {key: repr(values) for key, values in self.space.items()},
            "metrics": [list(pair) for pair in self.metrics],
            "fixed": sorted(o for o in self.fixed if not o.lstrip("+").startswith(("sweep.", "sweeps=", "hydra"))),
            "seeds": int(self.settings.seeds),
        }
        before = self.study.user_attrs.get("search")
        if before is None:
            self.study.set_user_attr("search", now)
            return
        for part in now:
            if before.get(part) != now[part]:
                raise UserError(
                    f"{self._where} contains a search with another {part}: {before.get(part)} there, {now[part]} "
                    f"here. Choose another name for this one: sweep.name=NAME."
                )

    def _enqueue(self) -> None:
        """Put the values of earlier runs first in the queue, once."""
        done = list(self.study.user_attrs.get("enqueued", []))
        for path in self.settings.enqueue:
            if str(path) not in done:
                values = values_of_run(Path(path), self.space)
                if not values:
                    raise UserError(f"sweep.enqueue: {path} has no value that lies in the space of this search.")
                self.study.enqueue_trial(values, user_attrs={"from": str(path)})
                done.append(str(path))
                self.study.set_user_attr("enqueued", done)

    def _next_batch(self) -> list[Trial]:
        batch: list[Trial] = []
        while len(batch) < self.settings.parallel and (trial := self._next()) is not None:
            batch.append(trial)
        return batch

    def _next(self) -> Trial | None:
        """An interrupted trial of this machine, or else a new one; None if the budget is spent."""
        with self.lock:
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == TrialState.RUNNING and self._is_abandoned(frozen):
                    trial = Trial(self.study, frozen._trial_id)
                    for key in self.space.keys() - frozen.params.keys():  # killed before it had all its values
                        trial._suggest(key, self.space[key])
                    if self._attempt(trial):
                        return trial
            begun = [trial for trial in trials if trial.state != TrialState.WAITING]
            spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in begun)
            if len(begun) >= self.trials or (self.settings.seconds and spent >= self.settings.seconds):
                return None
            self.study.sampler = make_sampler(self.config, self.space, len(begun))
            trial = self.study.ask(self.space)
            if trial.number >= self.trials:
                trial.set_user_attr("status", OVER_BUDGET)
                self.study.tell(trial, state=TrialState.FAIL)
                return None
            self._attempt(trial)
            return trial

    def _is_abandoned(self, trial: optuna.trial.FrozenTrial) -> bool:
        worker = trial.user_attrs.get("worker")
        if worker is not None:
            return is_orphan(worker)
        # Without a worker it was killed as it began; in a shared database, another machine may be about to begin it.
        age = time.time() - (trial.datetime_start.timestamp() if trial.datetime_start else 0)
        return self.settings.storage is None or age > BEGINNING

    def _attempt(self, trial: Trial) -> bool:
        """Take a trial for this worker; a trial that was killed too often is given up."""
        attempts = trial.user_attrs.get("attempts", 0) + 1
        if attempts > ATTEMPTS:
            self._fail(trial, "killed")
            return False
        trial.set_user_attr("attempts", attempts)
        trial.set_user_attr("status", None)
        trial.set_user_attr("worker", this_process())
        return True

    # -- one trial ------------------------------------------------------------------------------------------

    def _job(self, trial: Trial, number: int) -> Job:
        several = self.settings.seeds > 1
        subdir = f"{trial.number}/seed_{self.config.seed + number}" if several else str(trial.number)
        overrides = [*as_overrides(trial.params), f"sweep.trial={trial.number}"]
        return Job(subdir, [*overrides, *([f"seed={self.config.seed + number}"] if several else [])])

    def _train(self, batch: list[Trial], number: int) -> None:
        """Train the trials of a batch with their seed of this number, and record the results."""
        going = [trial for trial in batch if trial.user_attrs.get("status") is None]
        begun = time.monotonic()
        outcomes = self.jobs.run([self._job(trial, number) for trial in going])
        seconds = (time.monotonic() - begun) / max(len(going), 1)
        for trial, outcome in zip(going, outcomes, strict=True):
            values = trial.user_attrs.get("values", [])
            trial.set_user_attr("seconds", round(trial.user_attrs.get("seconds", 0.0) + seconds, 2))
            if outcome.warnings:
                trial.set_user_attr("warnings", outcome.warnings)
            if outcome.status != "completed":
                trial.set_user_attr("status", outcome.status)
            elif len(values) <= number:
                trial.set_user_attr("values", [*values, outcome.values])
            if outcome.status == "completed" and self.settings.seeds > 1 and len(self.metrics) == 1:
                trial.report(outcome.values[0], number)
                if number + 1 < self.settings.seeds and trial.should_prune():
                    trial.set_user_attr("status", "pruned")

    def _tell(self, trial: Trial) -> None:
        status = trial.user_attrs.get("status")
        if status == "interrupted":  # it stays open: the same command continues it
            return
        if status == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        elif status is not None:
            self._fail(trial, status)
        else:
            values = [statistics.fmean(column) for column in zip(*trial.user_attrs["values"], strict=True)]
            self.study.tell(trial, values)
        ended = self.study.get_trials(deepcopy=False)
        result = ", ".join(f"{value:.4g}" for value in ended[trial.number].values or [])
        result = f"{status} {result}" if status else f"{self._names} {result}"
        count = sum(one.state.is_finished() for one in ended)
        print(f"trial {trial.number} ({count} of {self.trials}): {result}, {_shown(trial)}", file=sys.stderr)

    def _fail(self, trial: Trial, status: str) -> None:
        trial.set_user_attr("status", status)
        self.study.tell(trial, state=TrialState.FAIL)

    def _give_up_if_hopeless(self) -> None:
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        if len(ended) >= HOPELESS and all(trial.user_attrs.get("status") == "failed" for trial in ended):
            raise UserError(
                f"The first {len(ended)} trials failed, so the search stops. Correct what they say, and remove "
                f"{self._where} or choose another sweep.name."
            )

    def _repeat(self, best: optuna.trial.FrozenTrial) -> None:
        """Train the best trial with fresh seeds; those that are done already are not repeated."""
        first = self.config.seed + self.settings.seeds
        jobs = [
            Job(f"repeats_of_{best.number}/seed_{seed}", [*as_overrides(best.params), f"seed={seed}"])
            for seed in range(first, first + self.settings.repeat_best)
        ]
        values = [out.values[0] for out in self.jobs.run(jobs) if out.status == "completed"]
        self.study.set_user_attr("repeated", {"trial": best.number, "values": values})
        if values:
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            print(f"again, with {len(values)} fresh seeds: {statistics.fmean(values):.4g}{spread}")

    @property
    def _names(self) -> str:
        return ", ".join(metric for metric, _ in self.metrics)

    @property
    def _where(self) -> str:
        return shortest(self.directory)


def _shown(trial: Trial | optuna.trial.FrozenTrial) -> str:
    """The values of a trial, numbers shortened."""
    params = trial.params.items()
    return " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in params)
