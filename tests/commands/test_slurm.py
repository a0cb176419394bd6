"""A job that SLURM puts back into its queue goes on with its run, by the environment variables that SLURM sets."""

import pytest

from lightning_gen.config import compose
from lightning_gen.runs.run import Run
from tests.helpers import QUICK, start_command

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


def srun(folder, *arguments, **more):
    """Two processes of one job, as srun starts them; their exit codes and what the first one says."""
    job = {"SLURM_JOB_ID": "78", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
    job |= {
        "SLURM_NODEID": "0",
        "SLURM_NNODES": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_NODELIST": "localhost",
        "SLURM_JOB_NODELIST": "localhost",
    }
    logs = [folder / f"rank{rank}.log" for rank in range(2)]
    both = [
        start_command([*arguments], log, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), **job, **more)
        for rank, log in enumerate(logs)
    ]
    for process in both:
        process.join(120)
    return [process.exitcode for process in both], logs[0].read_text()


def test_two_processes_of_a_requeued_job_go_on_together(tmp_path):
    two = (*OPTIONS, "trainer.devices=2", "trainer.max_steps=3")
    assert srun(tmp_path, *two)[0] == [0, 0]
    (run_dir,) = (tmp_path / "runs" / "digits" / "ae").iterdir()
    run = Run.load(run_dir)
    assert (run.read_checkpoint()["global_step"], len(run.read_checkpoint()["random_state"])) == (3, 2)
    run.config.trainer.max_steps = 5  # as if it had been stopped at 3 of 5
    run.save()
    codes, said = srun(tmp_path, *two, SLURM_RESTART_COUNT="1")
    assert codes == [0, 0], said
    assert "going on with" in said
    assert Run.load(run_dir).read_checkpoint()["global_step"] == 5


def test_two_processes_of_a_job_that_diverges_go_back_together(tmp_path):
    diverging = ("model.optimizer.lr=1e30", "rollback.lr_factor=1e-33", "on_divergence=rollback")
    codes, said = srun(tmp_path, *OPTIONS, "trainer.devices=2", "trainer.max_steps=3", *diverging)
    assert codes == [0, 0], said
    (run_dir,) = (tmp_path / "runs" / "digits" / "ae").iterdir()
    assert Run.load(run_dir).read_summary()["progress"]["step"] == 3
    assert len(Run.load(run_dir).read_summary()["rollbacks"]) == 1


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "error: This job of SLURM has --ntasks=4, which does not say how many processes each node has: use --ntasks-per-node=2."),
        ({"SLURM_NTASKS_PER_NODE": "2"}, "error: This job of SLURM has 4 tasks, but srun did not start this process: use `srun python train.py ...`, or --ntasks-per-node=1."),
    ],
    ids=["ntasks", "no srun"],
)  # fmt: skip
def test_tasks_that_cannot_be_one_run_are_refused_in_a_line(slurm, tmp_path, train_command, variables, told):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", **variables}.items():
        slurm.setenv(name, value)
    done = train_command(*OPTIONS, "trainer.max_steps=1", "trainer.num_nodes=2", "trainer.devices=2")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == told
    assert not list(tmp_path.glob("runs/**/config.yaml"))


def test_a_job_with_one_task_starts_a_process_for_each_device(slurm, tmp_path, train_command, forked_workers):
    slurm.setenv("SLURM_NTASKS_PER_NODE", "1")
    slurm.setenv("SLURM_NNODES", "1")
    done = train_command(*OPTIONS, "trainer.max_steps=2", "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    (run_dir,) = (tmp_path / "runs" / "digits" / "ae").iterdir()
    checkpoint = Run.load(run_dir).read_checkpoint()
    assert (checkpoint["global_step"], len(checkpoint["random_state"])) == (2, 2)
