"""N steps in one go equal k steps, a stop, and N - k steps: to the bit, in the middle of an epoch."""

import time
from functools import partial

import pytest

from lightning_gen.evaluation.evaluator import Evaluator
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.training_log import TrainingLog
from tests.helpers import QUICK, assert_same, logged, quick, resume_run, start_command, train_run

# 320 images in batches of 16: 20 steps an epoch, so all of this lies in the middle of the first or second.
COMMON = ("dataset.limit=320", "networks=conv", "checkpoint.every_n_steps=4", "trainer.log_every_n_steps=2")
COMMON += ("networks.encoder.width=8", "networks.decoder.width=8", "evaluation.held_out=20")
COMPARED = ("state_dict", "optimizer_states", "random_state", "global_step", "images_seen")


def compare(one, other):
    a, b = one.read_checkpoint(), other.read_checkpoint()
    for part in COMPARED:
        assert_same(a[part], b[part])
    assert_same(a["callbacks"].get("EMA", {}), b["callbacks"].get("EMA", {}))


@pytest.mark.parametrize("model", ["ae", "vae", "gan"])
@pytest.mark.parametrize(("stop", "evaluated"), [(7, 5), (25, 14)])
def test_resume_is_bit_identical(tmp_path, model, stop, evaluated):
    options = (f"model={model}", *COMMON, "ema.half_life=500", f"evaluation.every_n_steps={evaluated}")
    total = stop + 6
    straight, _ = train_run(tmp_path / "straight", *options, f"trainer.max_steps={total}")
    train_run(tmp_path / "resumed", *options, f"trainer.max_steps={stop}")
    resumed, summary = resume_run(tmp_path / "resumed", total)
    compare(straight, resumed)
    assert summary["progress"]["step"] == total
    kept = [row for row in logged(resumed.path) if int(row["step"]) != stop or stop % evaluated == 0 or stop % 2 == 0]
    assert kept == logged(straight.path)  # the stop itself was evaluated once more, at its end


def test_resume_with_dropout_restores_the_global_generator(tmp_path):
    options = ("model=ae", "networks=mlp", "networks.encoder.dropout=0.5", "evaluation.held_out=20")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=10")
    train_run(tmp_path / "resumed", *options, "trainer.max_steps=4")
    resumed, _ = resume_run(tmp_path / "resumed", 10)
    compare(straight, resumed)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_schedule_over_another_number_of_steps_is_told(tmp_path, capsys, schedule):
    options = ("model=ae", "networks=mlp", f"schedule={schedule}", "evaluation.held_out=20", "trainer.max_steps=4")
    train_run(tmp_path / "run", *options)
    resume_run(tmp_path / "run", 4)
    assert "schedule" not in capsys.readouterr().err
    resume_run(tmp_path / "run", 8)
    told = "note: the learning rate follows its schedule over trainer.max_steps, which was 4 and is 8." in (
        capsys.readouterr().err
    )
    assert told == (schedule == "cosine")


def wait_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_kill_and_resume(tmp_path):
    options = ("model=gan", "networks=mlp", "trainer.log_every_n_steps=10", "checkpoint.every_n_steps=10")
    forever = ("trainer.max_steps=1000000", f"hydra.run.dir={tmp_path}/killed")
    process = start_command(quick(*options, *forever), tmp_path / "log")
    wait_for(tmp_path / "killed" / "checkpoints" / "last.ckpt")
    time.sleep(0.5)
    process.kill()
    process.join()
    total = Run.load(tmp_path / "killed").read_checkpoint()["global_step"] + 15
    resumed, _ = resume_run(tmp_path / "killed", total)
    straight, _ = train_run(tmp_path / "straight", *options, f"trainer.max_steps={total}")
    compare(straight, resumed)
    steps = [int(row["step"]) for row in logged(resumed.path)]
    assert steps == sorted(set(steps))  # nothing twice, nothing from the lost future


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    options = ("model=vae", "networks=mlp", "trainer.max_steps=1000000", "checkpoint.every_n_steps=100000")
    process = start_command(quick(*options, f"hydra.run.dir={tmp_path}/run"), tmp_path / "log")
    wait_for(tmp_path / "run" / "checkpoints" / "best.ckpt")
    process.terminate()
    process.join(60)
    assert process.exitcode == 130
    said = (tmp_path / "log").read_text()
    assert "resume=" in said
    assert "Traceback" not in said
    run = Run.load(tmp_path / "run")
    assert run.read_summary()["status"] == "interrupted"
    assert run.read_checkpoint()["global_step"] == run.read_summary()["progress"]["step"]


def test_resume_takes_the_saved_config_and_overrides(tmp_path, train_command):
    options = ("model=vae", "networks=mlp", "model.objective.beta=2", "trainer.max_steps=3")
    first = train_command(*QUICK, *options, f"hydra.run.dir={tmp_path}/run")
    assert first.returncode == 0, first.stderr
    before = Run.load(tmp_path / "run").config
    second = train_command(f"resume={tmp_path}/run", "trainer.max_steps=5", "model.latent_dim=16")
    assert second.returncode == 0, second.stderr
    after = Run.load(tmp_path / "run").config
    assert after.trainer.max_steps == 5
    for key in set(before) - {"trainer", "resume", "command"}:
        assert before[key] == after[key], key
    assert Run.load(tmp_path / "run").read_summary()["progress"]["step"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


class Killed(BaseException):
    pass


def kill_at(monkeypatch, step=None, evaluation=None):
    """From here on, training is killed after that step or in that evaluation, counted from 0, of the process."""
    in_step, in_evaluation, calls = TrainingLog.on_step_end, Evaluator.__call__, []

    def stepping(log, trainer, model):
        if trainer.global_step == step:
            raise Killed
        in_step(log, trainer, model)

    def evaluating(evaluator, *arguments, **options):
        calls.append(None)
        if len(calls) - 1 == evaluation:
            raise Killed
        return in_evaluation(evaluator, *arguments, **options)

    monkeypatch.setattr(TrainingLog, "on_step_end", stepping)
    monkeypatch.setattr(Evaluator, "__call__", evaluating)


@pytest.mark.parametrize("model", ["ae", "gan"])
def test_kills_at_delicate_moments_one_after_the_other(tmp_path, monkeypatch, model):
    options = (f"model={model}", "networks=mlp", "trainer.accumulate_grad_batches=3", "schedule.warmup_steps=6")
    options += ("checkpoint.every_n_steps=4", "evaluation.every_n_steps=3", "ema.half_life=500")
    options += ("evaluation.held_out=20",)
    straight, expected = train_run(tmp_path / "straight", *options, "trainer.max_steps=9")
    moments = (
        {"evaluation": 0},  # the first, before there is a checkpoint
        {"step": 2},  # before the first checkpoint of the interval
        {"step": 1},  # right after a resume
        {"step": 6},
        {"step": 5},  # right after a resume, in the warm-up
        {"evaluation": 0},  # in the middle
        {"evaluation": 1},  # the final one
    )
    for number, moment in enumerate(moments):
        begin = partial(train_run, tmp_path / "killed", *options, "trainer.max_steps=9")
        with monkeypatch.context() as patch:
            kill_at(patch, **moment)
            with pytest.raises(Killed):
                begin() if number == 0 else resume_run(tmp_path / "killed", 9)
    resumed, summary = resume_run(tmp_path / "killed", 9)
    compare(straight, resumed)
    assert logged(straight.path) == logged(resumed.path)
    assert summary["metrics"] == expected["metrics"]
    assert summary["best"] == expected["best"]
