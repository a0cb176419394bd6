"""A job that SLURM puts back into its queue goes on with its run, by the environment variables that SLURM sets."""

import pytest

from lightning_gen.config import compose
from lightning_gen.runs.run import Run
from tests.helpers import QUICK

OPTIONS = (*QUICK, "model=ae", "networks=mlp", "checkpoint.every_n_steps=1")


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.setenv("SLURM_NODEID", "0")
    return monkeypatch


def test_a_requeued_job_finds_its_run_and_goes_on(slurm, tmp_path, train_command):
    first = train_command(*OPTIONS, "trainer.max_steps=3")
    assert first.returncode == 0, first.stderr
    (run_dir,) = (tmp_path / "runs" / "digits" / "ae").iterdir()
    assert run_dir.name.startswith("slurm-77-")
    config = Run.load(run_dir)
    config.config.trainer.max_steps = 5  # as if it had been stopped at 3 of 5
    config.save()
    slurm.setenv("SLURM_RESTART_COUNT", "1")
    again = train_command(*OPTIONS, "trainer.max_steps=3")
    assert again.returncode == 0, again.stderr
    assert "going on with" in again.stderr
    assert [path.name for path in run_dir.parent.iterdir()] == [run_dir.name]
    assert Run.load(run_dir).read_summary()["progress"]["step"] == 5


def test_two_commands_of_one_job_have_directories_of_their_own(slurm, tmp_path, train_command):
    for seed in (0, 1):
        assert train_command(*OPTIONS, "trainer.max_steps=1", f"seed={seed}").returncode == 0
    assert len(list((tmp_path / "runs" / "digits" / "ae").iterdir())) == 2


def test_tasks_of_an_array_and_interactive_jobs(slurm):
    slurm.setattr(compose, "requeued_command", "model=ae")
    slurm.setenv("SLURM_ARRAY_JOB_ID", "70")
    slurm.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert compose.run_name().startswith("slurm-70_3-")
    slurm.setenv("SLURM_JOB_NAME", "interactive")
    assert not compose.run_name().startswith("slurm")
