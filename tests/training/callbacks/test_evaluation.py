"""A run that is asked to stop in an evaluation stops in it, and loses nothing."""

import os
import signal
import time

import pytest

from lightning_gen.errors import UserError
from lightning_gen.evaluation.evaluator import Evaluator
from lightning_gen.evaluation.held_out import HeldOut
from lightning_gen.evaluation.likelihood import LikelihoodEvaluator
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.runs.run import Run
from tests.helpers import QUICK, assert_same, logged, resume_run, train_run

OPTIONS = (
    "model=vae",
    "networks=mlp",
    "evaluation.every_n_steps=3",
    "evaluation.nll.images=20",
    "evaluation.held_out=20",
)
LIKELIHOOD = "evaluation.nll.k=2"
PHASES = {
    "held-out metrics": (HeldOut, "__call__"),
    "samples": (SampleEvaluator, "__call__"),
    "pictures": (Evaluator, "draw"),
    "likelihood": (LikelihoodEvaluator, "__call__"),
}


def stop_in(monkeypatch, phase, call, number=signal.SIGTERM):
    """Ask to stop in that call of the phase, which would then take five minutes."""
    owner, name = PHASES[phase]
    original, calls = getattr(owner, name), []

    def slow(*arguments, **options):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), number)
            time.sleep(300)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, slow)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nobody stops, and its summary."""
    return train_run(tmp_path_factory.mktemp("straight"), *OPTIONS, LIKELIHOOD, "trainer.max_steps=5")


@pytest.mark.parametrize(
    ("phase", "call", "step"),
    [
        ("held-out metrics", 1, 0),
        ("samples", 2, 3),
        ("pictures", 2, 3),
        ("samples", 3, 5),
        ("likelihood", 1, 5),
    ],
)
def test_a_signal_in_an_evaluation_ends_it_and_the_resumed_run_is_bit_identical(
    tmp_path, monkeypatch, straight, phase, call, step
):
    straight, expected = straight
    start = time.monotonic()
    with monkeypatch.context() as patch:
        stop_in(patch, phase, call)
        run, summary = train_run(tmp_path / "stopped", *OPTIONS, LIKELIHOOD, "trainer.max_steps=5")
    assert time.monotonic() - start < 60
    assert summary["status"] == "interrupted"
    assert run.read_checkpoint()["global_step"] == summary["progress"]["step"] == step
    resumed, summary = resume_run(tmp_path / "stopped", 5)
    assert summary["status"] == "completed"
    for part in ("state_dict", "optimizer_states", "random_state", "images_seen"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert logged(straight.path) == logged(resumed.path)
    assert {k: v for k, v in summary["metrics"].items() if k.startswith("eval/")} == {
        k: v for k, v in expected["metrics"].items() if k.startswith("eval/")
    }


def test_a_kill_in_the_final_likelihood_loses_no_step(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    monkeypatch.setattr(LikelihoodEvaluator, "__call__", kill)
    with pytest.raises(Killed):
        train_run(tmp_path, *OPTIONS, LIKELIHOOD, "trainer.max_steps=5")
    assert Run.load(tmp_path).read_checkpoint()["global_step"] == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_the_command_says_how_to_go_on(tmp_path, monkeypatch, train_command, number):
    stop_in(monkeypatch, "held-out metrics", 1, number)
    done = train_command(*QUICK, *OPTIONS, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 130
    assert f"resume   python train.py resume={tmp_path}/run" in done.stdout
    assert "Traceback" not in done.stderr
    assert Run.load(tmp_path / "run").read_summary()["status"] == "interrupted"
    assert Run.load(tmp_path / "run").read_checkpoint()["global_step"] == 0


def test_a_signal_before_training_leaves_no_run_directory(tmp_path, monkeypatch, train_command):
    def slow(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(300)

    monkeypatch.setattr("lightning_gen.training.train.build_data", slow)
    done = train_command(*QUICK, *OPTIONS, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 130
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*overflow.*")
@pytest.mark.parametrize("model", ["ae", "vae", "wae", "hierarchical_vae"])
def test_a_run_whose_codes_overflow_between_two_logged_steps_ends_with_one_line(tmp_path, model):
    options = ("networks=mlp", "trainer.max_steps=2", "evaluation.every_n_steps=1", "trainer.log_every_n_steps=50")
    with pytest.raises(UserError, match=r"training has diverged\. Lower the learning rate"):
        train_run(tmp_path, f"model={model}", "model.optimizer.lr=1e20", *options)
    assert Run.load(tmp_path).read_summary()["status"] == "failed"


def test_an_animation_that_cannot_be_written_does_not_fail_the_run(tmp_path, monkeypatch, capsys):
    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_gen.training.callbacks.evaluation.animate", full)
    _, summary = train_run(tmp_path / "run", "model=ae", "networks=mlp", "trainer.max_steps=2")
    assert summary["status"] == "completed"
    assert "no samples/progress.webp: [Errno 28]" in capsys.readouterr().err
