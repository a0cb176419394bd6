"""A grid that was stopped goes on: finished jobs are skipped, the broken one is resumed, the others are begun."""

import os
import signal

import pytest
import yaml

from lightning_gen.models.steps import StepModule
from lightning_gen.runs.run import Run
from tests.helpers import assert_same, quick, train_run

JOB = ("model=ae", "networks=mlp", "trainer.max_steps=4", "checkpoint.every_n_steps=1")
GRID = (*quick(*JOB), "-m", "seed=0,1,2")


def steps(folder):
    return {job.name: Run.load(job).read_summary()["progress"]["step"] for job in folder.iterdir() if job.is_dir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The jobs of the grid, each trained without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    for seed in range(3):
        train_run(folder / str(seed), *JOB, f"seed={seed}")
    return folder


@pytest.mark.parametrize("subdir", [(), ("hydra.sweep.subdir=seed_${seed}",)], ids=["numbers", "names"])
def test_a_grid_goes_on_where_it_was_stopped(tmp_path, whole, train_command, monkeypatch, subdir):
    folder, original = tmp_path / "a b", StepModule.begin_step

    def stopping(model):
        original(model)
        if model.seed == 1 and model.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(StepModule, "begin_step", stopping)
        stopped = train_command(*GRID, f"hydra.sweep.dir={folder}", *subdir)
    assert stopped.returncode == 130
    assert f"all jobs python train.py resume='{folder}'" in stopped.stdout
    begun = [line for line in stopped.stderr.splitlines() if line.startswith("job ")]
    assert [(line[:7], f"seed={number}" in line.split()) for number, line in enumerate(begun)] == [
        ("job 0: ", True),
        ("job 1: ", True),
    ]
    names = [f"seed_{seed}" if subdir else str(seed) for seed in range(3)]
    assert steps(folder) == {names[0]: 4, names[1]: 3}
    first = (folder / names[0] / "metrics.csv").stat().st_mtime_ns

    again = train_command(f"resume={folder}")
    assert again.returncode == 0, again.stderr
    assert f"note: {folder / names[0]} is finished" in again.stderr
    assert (folder / names[0] / "metrics.csv").stat().st_mtime_ns == first
    names[2] = "2"  # the name of a job that begins now
    assert steps(folder) == dict.fromkeys(names, 4)
    for seed, name in enumerate(names):
        expected = Run.load(whole / str(seed)).read_checkpoint()["state_dict"]
        assert_same(Run.load(folder / name).read_checkpoint()["state_dict"], expected)

    third = train_command(f"resume={folder}")
    assert (third.returncode, third.stderr.count("is finished")) == (0, 3)


def record(folder, task, sweeper="hydra._internal.core_plugins.basic_sweeper.BasicSweeper"):
    folder.mkdir()
    content = {"hydra": {"overrides": {"task": task}, "sweeper": {"_target_": sweeper}}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize(
    ("task", "more", "told"),
    [
        (["seed=0,1"], ["trainer.max_steps=9"], "leave out trainer.max_steps=9, or resume single jobs"),
        (["seed=0,1", "model.latent_dim=${oc.env:SECRET}"], [], "reads the environment variable SECRET"),
        (["seed=0,1", "model._target_=pathlib.Path"], [], "calls pathlib.Path"),
        ([["a", "list"]], [], "cannot be read"),
    ],
)
def test_what_does_not_go_is_told(tmp_path, train_command, task, more, told):
    folder = record(tmp_path / "grid", task)
    done = train_command(f"resume={folder}", *more)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("*/config.yaml"))


def test_a_search_is_not_a_grid(tmp_path, train_command):
    folder = record(tmp_path / "search", ["seed=0"], "their.Sweeper")
    assert "was started by their.Sweeper" in train_command(f"resume={folder}").stderr
