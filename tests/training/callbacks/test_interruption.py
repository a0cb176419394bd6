"""A signal asks to stop, whenever it comes."""

import os
import signal

import pytest

from lightning_gen.evaluation.evaluator import Evaluator
from tests.helpers import train_run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_first_evaluation_is_not_lost(tmp_path, monkeypatch, number):
    measure = Evaluator.__call__

    def asked_meanwhile(self, model, **context):
        os.kill(os.getpid(), number)
        return measure(self, model, **context)

    monkeypatch.setattr(Evaluator, "__call__", asked_meanwhile)
    before = signal.getsignal(number)
    run, summary = train_run(tmp_path, "model=vae", "networks=mlp", "trainer.max_steps=50")
    assert summary["status"] == "interrupted"
    assert summary["progress"]["step"] == run.read_checkpoint()["global_step"] == 1
    assert signal.getsignal(number) is before
