"""Callbacks act in a fixed order, and each works with what it was given."""

import torch

from lightning_gen.training.callbacks.inference import evaluation_mode
from lightning_gen.training.train import prepare
from tests.helpers import make_run, train_run

OWN = "+callbacks.own={_target_: pytorch_lightning.callbacks.LambdaCallback}"


def callbacks(path, *overrides):
    return prepare(make_run(path, "networks=mlp", *overrides)).callbacks


def names(built):
    return [type(callback).__name__ for callback in built.in_order()]


def test_the_order_is_average_log_evaluate_show_save(tmp_path):
    everything = callbacks(tmp_path / "a", "model=gan", "trainer.enable_progress_bar=true", OWN)
    own = ["LambdaCallback", "StepProgress"]
    assert names(everything) == [
        "Interruption",
        "RandomState",
        "EMA",
        "TrainingLog",
        "Evaluation",
        *own,
        "SaveCheckpoints",
    ]
    least = callbacks(tmp_path / "b", "model=vae", "ema=none")
    assert names(least) == ["Interruption", "RandomState", "TrainingLog", "Evaluation", "SaveCheckpoints"]


def test_each_is_given_the_others_that_it_needs(tmp_path):
    built = callbacks(tmp_path, "model=gan", "trainer.enable_progress_bar=true")
    assert built.evaluation.ema is built.saver.ema is built.ema
    assert built.evaluation.saver is built.saver
    assert built.saver.check == built.log.check_finite
    assert built.saver.interruption is built.interruption
    built.log.latest, built.evaluation.metrics = {"train/loss": 1.0}, {"eval/fid_classifier": 2.0}
    assert built.progress.scalars() == {"train/loss": 1.0, "eval/fid_classifier": 2.0}


def test_what_a_checkpoint_keeps_goes_by_the_same_names(tmp_path):
    """A run of an earlier version would lose its average, its best value or its clock by another name."""
    run, _ = train_run(tmp_path, "model=gan", "networks=mlp", "trainer.max_steps=1")
    state = run.read_checkpoint()
    assert state["callbacks"].keys() == {"EMA", "TrainingLog", "Evaluation", "SaveCheckpoints"}
    assert "random_state" in state


def test_evaluation_mode_uses_the_average_and_puts_everything_back(tmp_path):
    parts = prepare(make_run(tmp_path, "model=gan", "networks=mlp"))
    model, ema = parts.model.train(), parts.callbacks.ema
    weight = next(iter(model.averaged_modules()["generator"].parameters()))
    own, random = weight.detach().clone(), torch.get_rng_state()
    with evaluation_mode(model, ema) as averaged:
        assert averaged
        assert torch.equal(weight, own)  # before training the weights are their own average
    ema.on_train_start(parts.trainer, model)
    for average in ema.average.values():
        average.add_(1)
    with evaluation_mode(model, ema) as averaged:
        torch.rand(3)
        assert averaged
        assert not model.training
        assert torch.equal(weight, own + 1)
    assert model.training
    assert torch.equal(weight, own)
    assert torch.equal(torch.get_rng_state(), random)
