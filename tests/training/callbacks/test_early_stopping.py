"""A run that overfits is told so once, and ends by itself with its best checkpoint, however often it was stopped."""

import csv
import shutil

import pytest

from lightning_gen.commands.multirun import result_of
from lightning_gen.commands.terminal import report
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare, train
from tests.helpers import assert_same, logged, make_run, resume_run, train_by_two, train_run

EVERY, PATIENCE, MOST = 10, 3, 400
OVERFITS = (  # an autoencoder with more codes than images
    *("model=ae", "networks=mlp", "dataset.limit=16", "model.optimizer.lr=0.003", "evaluation.held_out=100"),
    f"evaluation.every_n_steps={EVERY}",
)
STOPS = ("callbacks=early_stopping", f"callbacks.early_stopping.patience={PATIENCE}")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that has ended early: its run and its summary."""
    return train_run(tmp_path_factory.mktemp("stopped"), *OVERFITS, *STOPS, f"trainer.max_steps={MOST}")


def test_training_ends_after_evaluations_without_an_improvement_and_keeps_the_best(stopped, capsys):
    run, summary = stopped
    step, best = summary["progress"]["step"], summary["best"]
    with open(run.path / "metrics.csv", newline="") as file:
        metric = {int(row["step"]): float(row[best["metric"]]) for row in csv.DictReader(file) if row[best["metric"]]}
    assert best["step"] == min(metric, key=metric.get)
    assert (step, max(metric)) == (best["step"] + PATIENCE * EVERY,) * 2
    assert step < MOST
    assert run.read_checkpoint("best")["global_step"] == best["step"]
    assert summary["status"] == "stopped early"
    assert summary["early_stopping"] == {"step": step, "metric": "eval/reconstruction_mse", "patience": PATIENCE}
    assert result_of(run.path) == best["value"]  # a grid counts it as done
    report(run, summary)
    said = capsys.readouterr().out
    assert f"stopped early: {step:,} steps" in said
    assert f"reconstruction_mse has not improved in 3 evaluations up to step {step}" in " ".join(said.split())


def test_a_stop_and_a_resume_change_neither_the_count_nor_the_end(stopped, tmp_path, capsys):
    straight, summary = stopped
    train_run(tmp_path, *OVERFITS, *STOPS, f"trainer.max_steps={summary['progress']['step'] - EVERY}")
    capsys.readouterr()
    resumed, again = resume_run(tmp_path, MOST)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "overfits" in line]
    assert told.startswith(f"warning: step {summary['progress']['step']}: the model overfits: since step ")
    assert [warning in told for warning in again["warnings"]] == [True]
    assert again["status"] == "stopped early"
    first, second = straight.read_checkpoint(), resumed.read_checkpoint()
    for state in (first, second):
        del state["callbacks"]["TrainingLog"]["seconds"]
    for part in ("state_dict", "optimizer_states", "callbacks"):
        assert_same(first[part], second[part])
    assert logged(straight.path) == logged(resumed.path)


def test_a_run_that_has_ended_early_goes_on_only_with_more_patience(stopped, tmp_path, capsys):
    path = tmp_path / "run"
    shutil.copytree(stopped[0].path, path)
    step = stopped[1]["progress"]["step"]
    _, again = resume_run(path, MOST)
    assert (again["status"], again["progress"]["step"]) == ("stopped early", step)
    run = Run.load(path)
    run.config.resume, run.config.trainer.max_steps = str(path), MOST
    run.config.callbacks.early_stopping.patience = PATIENCE + 1
    assert train(run)["progress"]["step"] == step + EVERY
    assert "overfits" not in capsys.readouterr().err  # it was told before


def test_without_a_metric_that_of_the_best_checkpoint_counts(tmp_path):
    for model, metric, mode in (("vae", "eval/elbo", "max"), ("gan", "eval/fid_classifier", "min")):
        built = prepare(make_run(tmp_path / model, f"model={model}", "networks=mlp", *STOPS)).callbacks
        (callback,) = built.others
        assert (callback.monitor, callback.mode) == (built.saver.monitor, built.saver.mode) == (metric, mode)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("monitor=eval/typo",),
            r"callbacks\.early_stopping\.monitor=eval/typo: set callbacks\.early_stopping\.mode",
        ),
        (
            ("monitor=eval/los", "mode=min"),
            r"monitor=eval/los is not measured in this run.* Did you mean 'eval/loss'",
        ),
        (("patience=0",), r"callbacks\.early_stopping\.patience=0 must be a whole number, 1 or more"),
    ],
)
def test_what_is_wrong_is_told_before_the_first_step(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        train_run(tmp_path, *OVERFITS, *STOPS, *(f"callbacks.early_stopping.{o}" for o in overrides))
    assert Run.load(tmp_path).read_summary().get("progress", {}).get("step", 0) == 0


def test_two_devices_end_together(tmp_path, forked_workers):
    never = ("callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=1e6")
    options = ("model=ae", "networks=mlp", "evaluation.every_n_steps=1", STOPS[0], *never, "trainer.max_steps=50")
    summary = train_by_two(tmp_path / "run", *options).read_summary()
    assert (summary["status"], summary["progress"]["step"]) == ("stopped early", 2)
