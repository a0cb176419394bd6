"""Of several processes, one that dies, is stopped or is slow ends the run within a stated time, and is named."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from pytorch_lightning import Callback

from lightning_gen.errors import INTERRUPTED, WAITED
from lightning_gen.evaluation.evaluator import Evaluator
from lightning_gen.runs.run import Run
from lightning_gen.training import launch
from tests.helpers import assert_same, quick

TWO = quick("model=ae", "networks=mlp", "hardware=cpu", "trainer.devices=2", "checkpoint.every_n_steps=1")
TWO += ["evaluation.held_out=20"]
SABOTAGE = "+callbacks.own={_target_: tests.training.test_launch.Sabotage, how: %s}"


@pytest.fixture(autouse=True)
def _trust(monkeypatch):
    monkeypatch.setenv("LIGHTNING_GEN_TRUST", "tests")


class Sabotage(Callback):
    """Something happens to process 1 before the third step."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_batch_start(self, trainer, pl_module, *_):
        if trainer.global_rank == 1 and trainer.global_step == 2:
            if self.how == "slow":
                time.sleep(600)
            os.kill(os.getpid(), {"dead": signal.SIGKILL, "stopped": signal.SIGSTOP}[self.how])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("dead", "Process 1 of 2 was killed by SIGKILL."),
        ("stopped", "Process 1 of 2 did not answer for 4 seconds (trainer.process_timeout)."),
        ("slow", "Process 1 of 2 did not answer for 4 seconds (trainer.process_timeout)."),
    ],
)
def test_a_process_that_does_not_answer_is_named(tmp_path, train_command, forked_workers, monkeypatch, how, told):
    monkeypatch.setattr(launch, "GRACE", 2.0)
    options = ("trainer.max_steps=50", "trainer.process_timeout=4", f"hydra.run.dir={tmp_path}/run", SABOTAGE % how)
    start = time.monotonic()
    done = train_command(*TWO, *options)
    assert time.monotonic() - start < 60
    assert done.returncode not in (0, INTERRUPTED)
    assert f"error: {told} The run has ended." in done.stderr
    run = Run.load(tmp_path / "run")
    assert run.read_summary()["status"] == "failed"
    assert run.read_checkpoint()["global_step"] == 2


@pytest.mark.parametrize(
    ("codes", "code", "lost"),
    [
        ([0, 0], 0, ""),
        ([2, WAITED], 2, ""),
        ([WAITED, 1], 1, ""),
        ([INTERRUPTED, WAITED], INTERRUPTED, ""),
        ([WAITED, -9, WAITED], 1, "Process 1 of 3 was killed by SIGKILL."),
        ([-6, None], 1, "Process 1 of 2 did not answer for 9 seconds (trainer.process_timeout)."),
        ([None, WAITED, None], 1, "Processes 0, 2 of 3 did not answer for 9 seconds (trainer.process_timeout)."),
        ([WAITED, WAITED], 1, "The processes have lost the connection to each other."),
    ],
)
def test_what_exit_codes_say(codes, code, lost):
    assert (launch._code_of(codes), launch._lost(codes, 9)) == (code, lost)


class SlowEvaluation(Callback):
    """The second evaluation of process 1 takes ten minutes; when it begins, both processes are asked to stop."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def setup(self, trainer, pl_module, stage):
        original, calls = Evaluator.__call__, []

        def slow(evaluator, *arguments, **options):
            calls.append(None)
            if len(calls) == 2:
                (self.folder / f"began{trainer.global_rank}").touch()
                if trainer.global_rank == 1:
                    while not (self.folder / "began0").exists():
                        time.sleep(0.01)
                    (self.folder / "asked").write_text(json.dumps(time.time()))
                    for worker in json.loads((self.folder / "pids").read_text()):
                        os.kill(worker, signal.SIGTERM)
                    time.sleep(600)
            return original(evaluator, *arguments, **options)

        Evaluator.__call__ = slow
        pids = self.folder / "pids"
        if trainer.global_rank == 0:
            pids.write_text(json.dumps([os.getpid()]))
        else:
            while not pids.exists():
                time.sleep(0.01)
            pids.write_text(json.dumps([*json.loads(pids.read_text()), os.getpid()]))


def test_a_signal_in_an_evaluation_ends_both_within_seconds(tmp_path, train_command, forked_workers):
    options = ("trainer.max_steps=6", "evaluation.every_n_steps=3", "checkpoint.every_n_steps=1000")
    expected = train_command(*TWO, *options, f"hydra.run.dir={tmp_path}/straight")
    assert expected.returncode == 0, expected.stderr
    own = "+callbacks.own={_target_: tests.training.test_launch.SlowEvaluation, folder: '%s'}" % tmp_path  # noqa: UP031
    done = train_command(*TWO, *options, own, f"hydra.run.dir={tmp_path}/run")
    ended = time.time()
    assert done.returncode == INTERRUPTED, done.stderr
    assert ended - json.loads((tmp_path / "asked").read_text()) < 8  # seconds; two, and a machine that is busy
    run = Run.load(tmp_path / "run")
    assert (run.read_summary()["status"], run.read_checkpoint()["global_step"]) == ("interrupted", 3)
    again = train_command(f"resume={tmp_path}/run", "~callbacks.own")
    assert again.returncode == 0, again.stderr
    straight, resumed = Run.load(tmp_path / "straight").read_checkpoint(), run.read_checkpoint()
    for part in ("state_dict", "optimizer_states", "random_state", "global_step"):
        assert_same(straight[part], resumed[part])
