"""A step is one update, whatever the number of batches in it: what is logged, drawn, averaged and saved."""

import csv
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningModule

from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.steps import StepModule
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.training_log import TrainingLog
from lightning_gen.training.train import prepare, train
from tests.helpers import assert_same, logged, make_run, resume_run, train_run


def rows(run):
    with open(run.path / "metrics.csv") as file:
        return list(csv.DictReader(file))


def at_step(step):
    model = StepModule(seed=0)
    model._trainer = SimpleNamespace(global_step=step)
    return model


def test_a_scalar_is_the_mean_over_the_step_and_steps_share_nothing():
    model = at_step(0)
    model.on_train_batch_start(None, 0)
    for value in (1.0, 2.0, 6.0):
        model.on_train_batch_start(None, 0)  # global_step stands still while gradients are accumulated
        model.log_scalars({"train/loss": torch.tensor(value)})
    model.log_scalars({"train/rare": torch.tensor(5.0)})
    assert model.scalars == {"train/loss": 3.0, "train/rare": 5.0}
    assert not model.step_done
    model._trainer.global_step = 1
    assert model.step_done
    model.on_train_batch_start(None, 1)
    assert model.scalars == {}


def test_a_model_that_forgets_to_count_images_is_told():
    model = at_step(0)
    with pytest.raises(UserError, match=r"must call self\.count_images\(batch\)"):
        model.on_train_batch_end({"loss": torch.zeros(())}, None, 0)
    model.images_seen = 8
    model.on_train_batch_end({"loss": torch.zeros(())}, None, 0)


class Own(GenerativeModel):
    """A user's model, which is right."""

    def __init__(self, image_shape, encoder, decoder, optimizer, seed=0):
        super().__init__(image_shape, latent_dim=2, seed=seed)
        self.make_optimizer, self.decoder = optimizer, decoder(latent_dim=2, image_shape=image_shape)

    def decode(self, latents):
        return self.decoder(latents).sigmoid()

    def training_step(self, batch, batch_idx):
        self.count_images(batch)
        return (self.decode(torch.zeros(len(batch.images), 2)) - batch.images).square().mean()


class NoStep(Own):
    training_step = LightningModule.training_step


class NoOptimizer(Own):
    def configure_optimizers(self):
        return None


class ForgottenOptimizer(Own):
    def __init__(self, optimizer, **options):
        super().__init__(optimizer=optimizer, **options)
        del self.make_optimizer


class NothingToTrain(Own):
    def __init__(self, **options):
        super().__init__(**options)
        self.decoder = torch.nn.Unflatten(1, (1, 1, 2))


class ReturnsNothing(Own):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)


class ReturnsANumber(Own):
    def training_step(self, batch, batch_idx):
        return float(super().training_step(batch, batch_idx))


class ReturnsADetachedLoss(Own):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx).detach()


def own_run(path, kind):
    run = make_run(path, "model=wae", "networks=mlp", "trainer.max_steps=2", "evaluation.every_n_steps=2")
    node = {"_target_": f"{__name__}.{kind.__name__}", "name": "own", "optimizer": run.config.model.optimizer}
    run.config.model = run.record.model = node
    return run


def test_a_model_of_ones_own_trains(tmp_path):
    assert train(own_run(tmp_path, Own))["status"] == "completed"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoStep, r"NoStep has no training_step\(self, batch, batch_idx\)"),
        (NoOptimizer, "NoOptimizer has no optimizer: set self.make_optimizer"),
        (ForgottenOptimizer, "ForgottenOptimizer has no optimizer: set self.make_optimizer"),
        (NothingToTrain, "cannot make its optimizer: optimizer got an empty parameter list"),
    ],
)
def test_what_a_model_of_ones_own_lacks_is_told_before_training(tmp_path, kind, message):
    with pytest.raises(UserError, match=message):
        prepare(own_run(tmp_path, kind))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ReturnsNothing, "training_step returned None, so nothing is trained"),
        (ReturnsANumber, "training_step"),
        (ReturnsADetachedLoss, "the loss does not depend on the weights"),
    ],
)
def test_a_training_step_that_trains_nothing_is_told(tmp_path, kind, message):
    run = own_run(tmp_path, kind)
    with pytest.raises(UserError, match=message):
        train(run)
    assert run.read_summary()["status"] == "failed"


def test_accumulated_batches_draw_noise_of_their_own():
    model, again = at_step(7), at_step(7)
    draws = []
    for one in (model, again):
        for _ in range(2):
            one.on_train_batch_start(None, 0)
            draws.append(one.noise.normal((4, 3), torch.device("cpu")))
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])


def test_accumulated_batches_are_one_large_batch(tmp_path):
    """An autoencoder draws nothing. Weights, average, logged losses and evaluations agree, at the same steps."""
    options = ("model=ae", "networks=mlp", "ema.half_life=100", "trainer.precision=64-true")
    options += ("trainer.max_steps=6", "evaluation.every_n_steps=2", "trainer.gradient_clip_val=1")
    large, _ = train_run(tmp_path / "large", *options, "dataset.batch_size=24")
    parts, _ = train_run(tmp_path / "parts", *options, "dataset.batch_size=8", "trainer.accumulate_grad_batches=3")
    a, b = large.read_checkpoint(), parts.read_checkpoint()
    assert (a["global_step"], a["images_seen"]) == (b["global_step"], b["images_seen"]) == (6, 144)
    assert_same(a["state_dict"], b["state_dict"], tolerance=1e-9)
    assert_same(a["callbacks"]["EMA"], b["callbacks"]["EMA"], tolerance=1e-9)
    assert [row["step"] for row in rows(parts)] == [str(step) for step in range(7)]
    for one, other in zip(rows(large), rows(parts), strict=True):
        for name in ("images_seen", "train/loss", "eval/reconstruction_mse"):
            assert (one[name] == "") == (other[name] == "")
            assert float(one[name] or 0) == pytest.approx(float(other[name] or 0), rel=1e-6), name


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_killed_run_with_accumulation_resumes_to_the_bit(tmp_path, monkeypatch, model):
    options = (f"model={model}", "networks=mlp", "trainer.accumulate_grad_batches=3", "checkpoint.every_n_steps=2")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=6")
    original = TrainingLog.on_step_end

    def killed(self, trainer, model):
        if trainer.global_step == 5:
            raise InterruptedError
        original(self, trainer, model)

    monkeypatch.setattr(TrainingLog, "on_step_end", killed)
    with pytest.raises(InterruptedError):
        train_run(tmp_path / "killed", *options, "trainer.max_steps=6")
    monkeypatch.undo()
    assert Run.load(tmp_path / "killed").read_checkpoint()["global_step"] == 4
    resumed, _ = resume_run(tmp_path / "killed", 6)
    for part in ("state_dict", "optimizer_states", "images_seen", "random_state"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert logged(straight.path) == logged(resumed.path)


def test_a_model_that_cannot_clip_says_so():
    model = StepModule()
    model.clip_and_accumulate(None, "norm", 1)
    for clip in ((1.0, "norm", 1), (None, "norm", 2)):
        with pytest.raises(UserError, match="do not work with StepModule"):
            model.clip_and_accumulate(*clip)
