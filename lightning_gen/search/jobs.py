"""The trainings of a search: start those that are not done yet, and read how each ended."""

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from lightning_gen.runs.run import COMPLETE, Run
from lightning_gen.search.results import value_of

ENDED = (*COMPLETE, "pruned")  # statuses of runs that need no more training


@dataclass
class Job:
    """One training: the folder of its run below the search, and its overrides."""

    subdir: str
    overrides: list[str]


@dataclass
class Outcome:
    """How a training ended: the status of its run, or `nan` if it diverged; and the values of the metrics."""

    status: str
    values: list[float] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # of its last evaluation, such as a collapse


class Jobs:
    """Runs the jobs of a search.

    Args:
        launcher: Hydra's launcher.
        directory: the directory of the search.
        fixed: the overrides that all jobs share.
        metrics: the metrics that the search optimizes.
    """

    def __init__(self, launcher: Launcher, directory: Path, fixed: Sequence[str], metrics: Sequence[str]) -> None:
        self.launcher, self.directory, self.fixed, self.metrics = launcher, directory, fixed, metrics

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Train the jobs; those that were interrupted go on, and those that have ended are only read."""
        todo = [job for job in jobs if _summary(self.directory / job.subdir).get("status") not in ENDED]
        calls = [[*self.fixed, *job.overrides, *self._place(job)] for job in todo]
        returned = self.launcher.launch(calls, initial_job_idx=0) if calls else []
        results = {job.subdir: result for job, result in zip(todo, returned, strict=True)}
        return [self._outcome(job, results.get(job.subdir)) for job in jobs]

    def _place(self, job: Job) -> list[str]:
        """The overrides that say where the job is. What was killed before its first checkpoint starts again."""
        path = self.directory / job.subdir
        place = [f"hydra.sweep.subdir={job.subdir}"]
        if not (path / "config.yaml").exists():
            return place
        if not any((path / "checkpoints").glob("*.ckpt")):
            shutil.rmtree(path)
            return place
        return [*place, f"resume='{path}'"]

    def _outcome(self, job: Job, result: JobReturn | None) -> Outcome:
        if result is not None and result.status == JobStatus.FAILED:
            error = getattr(result, "_return_value", None)
            print(f"error: {job.subdir}: {type(error).__name__}: {error}", file=sys.stderr)
            return Outcome("failed")
        summary = _summary(self.directory / job.subdir)
        status, warnings = summary.get("status", "failed"), summary.get("warnings", [])
        if status in ("failed", "running"):
            return Outcome("nan" if "has diverged" in summary.get("error", "") else "failed", warnings=warnings)
        names = self.metrics if len(self.metrics) > 1 else [summary.get("best", {}).get("metric", "")]
        values = [value_of(summary, name) for name in names]
        if status in COMPLETE:
            status = "completed" if all(map(math.isfinite, values)) else "nan"
        return Outcome(status, values, warnings)


def _summary(path: Path) -> dict[str, Any]:
    """The summary of the run at a path; empty if there is none."""
    return Run.load(path).read_summary() if (path / "config.yaml").exists() else {}
