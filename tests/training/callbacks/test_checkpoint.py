"""What is watched is measured, what is kept is finite, and a stop never splits a step."""

import math
import os
import signal

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.ema import EMA
from tests.helpers import assert_same, resume_run, train_run

TINY = ("model=ae", "networks=mlp", "ema=none")
CALLBACK = "+callbacks.own={{_target_: pytorch_lightning.callbacks.{}}}"


@pytest.mark.parametrize(
    ("metric", "told"), [("eval/typo", "not measured.*eval/reconstruction_mse"), ("eval/nll", "only at the end")]
)
def test_a_metric_that_is_not_measured_is_told_before_the_first_step(tmp_path, metric, told):
    with pytest.raises(UserError, match=f"checkpoint.monitor={metric} .*{told}"):
        train_run(tmp_path, *TINY, f"checkpoint.monitor={metric}", "checkpoint.mode=min", "trainer.max_steps=2")
    assert Run.load(tmp_path).read_summary()["progress"]["step"] == 0


def test_early_stopping_acts_after_each_evaluation(tmp_path):
    own = CALLBACK.format("EarlyStopping, monitor: eval/reconstruction_mse, patience: 2, min_delta: 1000")
    _, summary = train_run(tmp_path, *TINY, own, "evaluation.every_n_steps=3", "trainer.max_steps=50")
    assert summary["progress"]["step"] == 6  # the first evaluation sets the mark, two do not improve on it
    assert summary["status"] == "completed"


@pytest.mark.parametrize(
    ("kind", "instead"),
    [("ModelCheckpoint", "checkpoint.every_n_steps"), ("StochasticWeightAveraging, swa_lrs: 0.1", "ema=average")],
)
def test_a_callback_whose_work_a_key_does_is_refused_by_name(tmp_path, kind, instead):
    with pytest.raises(UserError, match=f"callbacks.own: {kind.split(',')[0]} does not work here: use {instead}"):
        train_run(tmp_path, *TINY, CALLBACK.format(kind), "trainer.max_steps=2")


def test_learning_rate_monitor_and_profiler_report_into_the_run_directory(tmp_path):
    own = CALLBACK.format("LearningRateMonitor")
    run, _ = train_run(tmp_path, *TINY, own, "trainer.profiler=simple", "trainer.max_steps=2")
    assert "run_training_batch" in (run.path / "fit-profile.txt").read_text()


@pytest.mark.parametrize("part", ["the state of an optimizer", "the average of the weights"])
def test_the_last_good_checkpoint_stays_when_something_else_than_a_weight_diverges(tmp_path, monkeypatch, part):
    def spoil(ema, trainer, model):
        if trainer.global_step == 3:
            state = next(iter(trainer.optimizers[0].state.values()))["exp_avg_sq"]
            (state if part.endswith("optimizer") else next(iter(ema.average.values()))).fill_(math.inf)

    monkeypatch.setattr(EMA, "on_step_end", spoil)
    options = ("ema=average", "checkpoint.every_n_steps=1", "trainer.max_steps=5")
    with pytest.raises(UserError, match=f"{part} is not finite at step 3"):
        train_run(tmp_path, "model=ae", "networks=mlp", *options)
    assert Run.load(tmp_path).read_checkpoint()["global_step"] == 2


def test_a_stop_in_the_middle_of_an_accumulation_waits_for_the_step(tmp_path, monkeypatch):
    options = (*TINY, "trainer.accumulate_grad_batches=3", "trainer.max_steps=4")
    straight, _ = train_run(tmp_path / "straight", *options)
    original, batches = Autoencoder.count_images, []

    def counting(model, batch):
        original(model, batch)
        batches.append(None)
        if len(batches) == 5:  # the second batch of the second step
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Autoencoder, "count_images", counting)
        stopped, summary = train_run(tmp_path / "stopped", *options)
    assert (summary["status"], summary["progress"]["step"], len(batches)) == ("interrupted", 2, 6)
    resumed, _ = resume_run(stopped.path, 4)
    for key in ("state_dict", "optimizer_states", "random_state", "images_seen"):
        assert_same(straight.read_checkpoint()[key], resumed.read_checkpoint()[key])
    assert all(torch.isfinite(value).all() for value in resumed.read_checkpoint()["state_dict"].values())
