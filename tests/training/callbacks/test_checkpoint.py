"""What is watched is measured, what is kept is finite, and a stop never splits a step."""

import csv
import math
import os
import signal

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.checkpoint import make_room
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.train import train
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


def test_a_resumed_run_says_that_another_metric_chooses_the_best_checkpoint(tmp_path, capsys):
    run = train_run(tmp_path, *TINY, "trainer.max_steps=2")[0]
    capsys.readouterr()
    resume_run(run.path, 3)
    assert "best.ckpt" not in capsys.readouterr().err
    changed = Run.load(run.path)
    changed.config.resume, changed.config.trainer.max_steps = str(run.path), 4
    changed.config.checkpoint.monitor = "eval/squared_error"
    train(changed)
    assert "from now on it is chosen by eval/squared_error" in capsys.readouterr().err


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


def columns(path, *names):
    with open(path / "metrics.csv") as file:
        return [[float(row[name]) if row[name] else None for name in names] for row in csv.DictReader(file)]


@pytest.mark.parametrize("model", ["ae", "gan"])
def test_learning_rate_monitor_adds_the_rate_of_each_step(tmp_path, model):
    own = CALLBACK.format("LearningRateMonitor")
    key = "model.optimizer.lr" if model == "ae" else "model.generator_optimizer.lr"
    options = ("networks=mlp", "schedule.warmup_steps=4", "trainer.log_every_n_steps=2", f"{key}=1e-3")
    train_run(tmp_path, f"model={model}", *options, own, "trainer.max_steps=6")
    assert columns(tmp_path, "step", "lr-Adam") == [[0, None], [2, 4e-4], [4, 8e-4], [6, 1e-3]]


def test_device_stats_monitor_adds_its_columns_to_the_rows(tmp_path):
    pytest.importorskip("psutil")
    own = CALLBACK.format("DeviceStatsMonitor")
    train_run(tmp_path, *TINY, own, "trainer.log_every_n_steps=2", "trainer.max_steps=5")
    names = [f"DeviceStatsMonitor.on_train_batch_{when}/cpu_vm_percent" for when in ("start", "end")]
    found = columns(tmp_path, "step", *names)
    assert [step for step, *_ in found] == [0, 2, 4, 5]
    assert [0 < value < 100 for _, *values in found[1:3] for value in values] == [True] * 4


def test_timer_stops_the_run_between_two_steps_over_all_its_parts(tmp_path):
    own = CALLBACK.format("Timer, duration: {seconds: 1}")
    _, summary = train_run(tmp_path, *TINY, own, "trainer.max_steps=1000000", "evaluation.every_n_steps=1000000")
    step = summary["progress"]["step"]
    assert (summary["status"], 0 < step < 1000000) == ("completed", True)
    resumed, summary = resume_run(tmp_path, 1000000)  # its time is up
    assert summary["progress"]["step"] <= step + 1
    assert resumed.read_checkpoint()["callbacks"]["Timer"]["time_elapsed"]["train"] >= 1


def test_the_profiler_reports_into_the_run_directory(tmp_path):
    run, _ = train_run(tmp_path, *TINY, "trainer.profiler=simple", "trainer.max_steps=2")
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


@pytest.mark.parametrize("links", [True, False])
def test_last_ckpt_is_there_at_every_moment(tmp_path, monkeypatch, links):
    """Also between the two renames of a save, and when a process was killed there; without links it is only moved."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(OSError("not supported")))
    (tmp_path / "last.ckpt").write_text("10")
    (tmp_path / "previous.ckpt").write_text("0")
    for _ in range(2):  # killed after the first time
        make_room(tmp_path, keep=1)
        assert (tmp_path / "last.ckpt").exists() == links
        if not links:
            (tmp_path / "last.ckpt").write_text("10")
    (tmp_path / "next.ckpt").write_text("20")
    os.replace(tmp_path / "next.ckpt", tmp_path / "last.ckpt")
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts == {"last.ckpt": "20", "previous.ckpt": "10"}
