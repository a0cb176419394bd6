"""A run that diverges goes back to its last checkpoint with lower learning rates, and resumes bit for bit after it."""

import csv

import pytest

from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.training_log import TrainingLog
from tests.helpers import assert_same, quick, resume_run, train_run

# Adam's first step at this rate makes the loss infinite; at the rate after one rollback, 1e-3, it is small.
DIVERGES = ("model=ae", "networks=mlp", "ema=average", "model.optimizer.lr=1e30", "rollback.lr_factor=1e-33")
ROLLS_BACK = (*DIVERGES, "on_divergence=rollback", "checkpoint.every_n_steps=3", "evaluation.every_n_steps=2")
ROLLS_BACK += ("evaluation.held_out=20",)
PARTS = ("state_dict", "optimizer_states", "random_state", "global_step", "images_seen")


def test_a_run_that_diverges_goes_back_and_ends(tmp_path, capsys):
    run, summary = train_run(tmp_path, *ROLLS_BACK, "trainer.max_steps=5")
    assert summary["status"] == "completed"
    (entry,) = summary["rollbacks"]
    assert entry == {"step": 2, "to": 0, "lr_factor": 1e-33, "reason": "the loss is not finite"}
    assert "step 2: the loss is not finite. Going back to step 0 with learning rates times 1e-33" in (
        capsys.readouterr().err
    )
    assert run.read_checkpoint()["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-3)
    with open(tmp_path / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    losses = [float(row["train/loss"]) for row in rows[1:]]
    assert losses[-1] < losses[0] < 100  # the rows of the lost future are gone


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that rolls back once and ends, and its summary."""
    return train_run(tmp_path_factory.mktemp("rollback") / "straight", *ROLLS_BACK, "trainer.max_steps=6")


@pytest.mark.parametrize("stopped_at", [1, 4])  # before the first checkpoint after the rollback, and later
def test_resume_after_a_rollback_is_bit_identical(tmp_path, monkeypatch, straight, stopped_at):
    straight, expected = straight
    original = TrainingLog.on_step_end

    class Killed(BaseException):
        pass

    def killing(log, trainer, model):
        if model.lowered and trainer.global_step == stopped_at:
            raise Killed
        original(log, trainer, model)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "on_step_end", killing)
        with pytest.raises(Killed):
            train_run(tmp_path / "killed", *ROLLS_BACK, "trainer.max_steps=6")
    resumed, summary = resume_run(tmp_path / "killed", 6)
    for part in PARTS:
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert_same(straight.read_checkpoint("best")["state_dict"], resumed.read_checkpoint("best")["state_dict"])
    assert (summary["best"], summary["rollbacks"]) == (expected["best"], expected["rollbacks"])


def test_it_stops_after_the_last_rollback_that_is_allowed(tmp_path):
    options = (*ROLLS_BACK, "rollback.lr_factor=0.5", "rollback.max_times=2", "trainer.max_steps=5")
    with pytest.raises(UserError, match=r"the loss is not finite at step 2.*after 2 rollbacks"):
        train_run(tmp_path, *options)
    summary = Run.load(tmp_path).read_summary()
    assert (summary["status"], len(summary["rollbacks"])) == ("failed", 2)
    assert Run.load(tmp_path).read_checkpoint()["global_step"] == 0


def test_a_run_that_has_stopped_can_be_told_to_roll_back(tmp_path, train_command):
    run_dir = tmp_path / "run"
    first = train_command(*quick(*DIVERGES), "trainer.max_steps=4", f"hydra.run.dir={run_dir}")
    assert first.returncode == 2
    assert "or set on_divergence=rollback" in first.stderr
    again = train_command(f"resume={run_dir}", "on_divergence=rollback")
    assert again.returncode == 0, again.stderr
    more = train_command(f"resume={run_dir}", "trainer.max_steps=6")
    assert "note: after 1 rollbacks, learning rates are times 1e-33" in more.stderr
    assert Run.load(run_dir).read_summary()["progress"]["step"] == 6


def test_two_processes_go_back_together(tmp_path, train_command, forked_workers):
    two = ("hardware=cpu", "trainer.devices=2", "trainer.precision=64-true", "trainer.max_steps=5")
    done = train_command(*quick(*ROLLS_BACK, *two, "model.optimizer.lr=1e300"), f"hydra.run.dir={tmp_path / 'two'}")
    assert done.returncode == 2, done.stderr  # 1e300 * 1e-33 is still too much
    done = train_command(f"resume={tmp_path / 'two'}", "rollback.lr_factor=1e-303", "rollback.max_times=4")
    assert done.returncode == 0, done.stderr
    summary = Run.load(tmp_path / "two").read_summary()
    assert [entry["lr_factor"] for entry in summary["rollbacks"]] == [1e-33, 1e-33, 1e-33, 1e-303]
    assert summary["progress"]["step"] == 5


def test_codes_that_overflow_are_a_divergence_too(tmp_path):
    """The weights after the first step are finite, but a density cannot be fitted to their codes."""
    options = ("model=ae", "networks=mlp", "model.optimizer.lr=1e30", "checkpoint.every_n_steps=1")
    with pytest.raises(UserError, match="the covariance of the codes is not finite at step 1: training has diverged"):
        train_run(tmp_path, *options, "trainer.max_steps=3")
