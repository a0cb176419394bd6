"""Short trainings, from the same configs that users have."""

import copy
import csv
import multiprocessing
import os
import re
import sys
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from runpy import run_module
from typing import Any, NamedTuple

import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from lightning_gen.config.compose import compose
from lightning_gen.config.tree import config_dir
from lightning_gen.runs.run import Run
from lightning_gen.training import launch
from lightning_gen.training.launch import PARENT
from lightning_gen.training.train import train
from lightning_gen.training.worker import worker_main
from tests.drawing import draw_pixels

QUICK = (
    "logger=csv",
    "dataset=digits",  # small and without a file to read
    "hardware=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
    "evaluation.num_samples=20",
    "evaluation.every_n_steps=1000",
    "evaluation.nll.k=0",
    "dataset.batch_size=16",
    "report=false",
    "evaluation.projection=null",  # matplotlib takes longer than the rest of a tiny run
)


# What a run of the digits imports when it needs it; it would take longer than the run in each worker.
LATE = ("sklearn.datasets", "sklearn.mixture", "lightning_gen.data.sources.digits", "tests.drawing")


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class ForkedWorker:
    """A worker of `lightning_gen.training.launch`, with what that needs of `subprocess.Popen`."""

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning_gen.commands.train", "lightning_gen.training.train", *LATE])

    def __init__(self, run_dir: Path, environment: dict[str, str]) -> None:
        self.process = self.context.Process(target=self.main, args=(str(run_dir), environment), daemon=True)
        self.process.start()

    @staticmethod
    def main(run_dir: str, environment: dict[str, str]) -> None:
        os.environ.update(environment, **{PARENT: str(os.getppid())})  # its parent is the server
        torch.set_num_threads(1)
        draw_pixels()
        sys.exit(worker_main(run_dir))

    def poll(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def start_command(arguments: list[str], log: Path, program: str = "train.py", **environment: str) -> BaseProcess:
    """Start `python train.py ARGUMENTS`, or lightning-gen, in a process of its own, whose output goes to a file.

    It is forked from a process that has imported everything. Its working directory is that of the file.
    """
    process = ForkedWorker.context.Process(target=_command, args=(arguments, log, program, environment), daemon=True)
    process.start()
    return process


def _command(arguments: list[str], log: Path, program: str, environment: dict[str, str]) -> None:
    from lightning_gen.commands import train as app

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    os.chdir(log.parent)
    torch.set_num_threads(1)
    draw_pixels()
    sys.argv = [program, *arguments]
    app.main() if program == "train.py" else run_module("lightning_gen", run_name="__main__")


def quick(*overrides: str) -> list[str]:
    """These overrides, and those of `QUICK` that they leave open. A recipe has a data set of its own."""
    given = {override.split("=")[0] for override in overrides}
    given |= {"dataset"} if "experiment" in given else set()
    return [*(option for option in QUICK if option.split("=")[0] not in given), *overrides]


VALUE = re.compile(r"\w+(\.\w+)+=.*|(seed|id|report|conditional)=.*", re.DOTALL)  # no choice from a group


@lru_cache(maxsize=200)
def _composed(folder: Path, choices: tuple[str, ...]) -> DictConfig:
    return compose(list(choices))


@lru_cache(maxsize=1000)
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def composed(*overrides: str) -> DictConfig:
    """The config of these overrides.

    Composing takes a fifth of the time of a tiny run. So the choices from groups are composed once, and the values of
    keys are set in a copy, by the same function with which Hydra sets them in what it has composed.
    """
    values = [override for override in overrides if VALUE.fullmatch(override)]
    config = copy.deepcopy(_composed(config_dir(), tuple(o for o in overrides if o not in values)))
    try:
        ConfigLoaderImpl._apply_overrides_to_config([_parsed(value) for value in values], config)
    except HydraException:
        return compose(list(overrides))  # raises the error that users see
    return config


def make_run(path: Path, *overrides: str) -> Run:
    """A run directory of these overrides, not trained yet."""
    run = Run.create(path, composed(*quick(*overrides)))
    run.save()
    return run


def train_run(path: Path, *overrides: str) -> tuple[Run, dict[str, Any]]:
    """Train a new run in this process; the run and its summary."""
    run = make_run(path, *overrides)
    return run, train(run)


def train_by_two(path: Path, *overrides: str) -> Run:
    """Train a new run by two processes; with the fixture `forked_workers`, which makes them cheap."""
    config = composed(*quick(*overrides))
    config.trainer.devices = 2
    run = Run.create(path, config)
    run.save()
    assert launch.launch(run.path, count=2, timeout=60) == 0
    return run


def resume_run(path: Path, max_steps: int) -> tuple[Run, dict[str, Any]]:
    """Go on with a run up to `max_steps`."""
    run = Run.load(path)
    run.config.resume, run.config.trainer.max_steps = str(path), max_steps
    return run, train(run)


def logged(run_dir: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without the time that they took, which differs from run to run."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested containers by their paths."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        return {prefix: tree}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}/{key}").items()}


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """The same paths, the same numbers: to the bit unless a tolerance is given."""
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for path in a:
        if isinstance(a[path], torch.Tensor):
            torch.testing.assert_close(
                a[path], b[path], rtol=tolerance, atol=tolerance, msg=lambda m, p=path: f"{p}: {m}"
            )
        else:
            assert a[path] == b[path], path
