"""What holds for every model of several players: GAN, VAE/GAN, and WAE with a discriminator of codes."""

import csv

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.config.build import build_model
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.gan import GAN
from lightning_gen.models.vae_gan import VAEGAN
from lightning_gen.models.wae import WAE
from lightning_gen.objectives.penalties import Penalty
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare
from tests.helpers import assert_same, make_run, train_run

SMALL = ("networks=mlp", "networks.encoder.widths=[16]", "networks.decoder.widths=[16]", "model.latent_dim=4")
SMALL += ("evaluation.held_out=20",)
WAE_GAN = ("model=wae", "model/divergence=gan", "model.divergence.widths=[16]")
MODELS = {  # with the modules of each player, and the configs of the optimizers
    "gan": (("model=gan",), {"generator": ["generator"], "discriminator": ["discriminator"]}),
    "vae_gan": (("model=vae_gan",), {name: [name] for name in ("encoder", "decoder", "discriminator")}),
    "wae_gan": (WAE_GAN, {"autoencoder": ["encoder", "code", "decoder"], "discriminator": ["divergence"]}),
}
OPTIMIZERS = {
    "gan": ("model.generator_optimizer", "model.discriminator_optimizer"),
    "vae_gan": ("model.optimizer", "model.discriminator_optimizer"),
    "wae_gan": ("model.optimizer", "model.divergence.optimizer"),
}


def rows(run):
    with open(run.path / "metrics.csv") as file:
        return list(csv.DictReader(file))


def norm_of_change(before, after, modules):
    changes = [before[k].double() - after[k].double() for k in before if k.split(".")[0] in modules]
    return float(torch.stack([change.square().sum() for change in changes]).sum().sqrt())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_clipping_bounds_the_gradient_of_each_player(tmp_path, name, precision):
    """Plain gradient descent moves by the learning rate times the clipped norm."""
    options, players = MODELS[name]
    sgd = "{_target_: torch.optim.SGD, _partial_: true, lr: 1.0, fused: false}"
    options = [*options, *SMALL, "trainer.gradient_clip_val=1e-3", f"trainer.precision={precision}", "ema=none"]
    for key in OPTIMIZERS[name]:
        options += [f"~{key}", f"+{key}={sgd}"]
    a = prepare(make_run(tmp_path / "a", *options)).model.state_dict()
    run, summary = train_run(tmp_path / "b", *options, "trainer.max_steps=2")
    b = run.read_checkpoint()["state_dict"]
    for player, modules in players.items():
        assert 1e-4 < norm_of_change(a, b, modules) <= 2.01e-3
        assert summary["metrics"][f"train/grad_norm_{player}"] > 1e-3  # before it was clipped


@pytest.mark.parametrize("name", MODELS)
def test_accumulated_batches_are_one_large_batch(tmp_path, monkeypatch, name):
    """Where the noise is the same for every image, they agree: weights, losses, penalties, norms, at the same steps."""
    monkeypatch.setattr(StepNoise, "_share", lambda self, draw, shape, device: torch.full(shape, 0.3, device=device))
    options = (*MODELS[name][0], *SMALL, "model/penalty=[r1]")
    options += ("trainer.precision=64-true", "trainer.max_steps=4")
    large, _ = train_run(tmp_path / "large", *options, "dataset.batch_size=24")
    parts, _ = train_run(tmp_path / "parts", *options, "dataset.batch_size=8", "trainer.accumulate_grad_batches=3")
    a, b = large.read_checkpoint(), parts.read_checkpoint()
    assert (a["global_step"], a["images_seen"]) == (b["global_step"], b["images_seen"]) == (4, 96)
    assert_same(a["state_dict"], b["state_dict"], tolerance=1e-9)
    for one, other in zip(rows(large)[1:], rows(parts)[1:], strict=True):
        names = [key for key in one if key.startswith(("train/loss", "train/grad_norm", "train/penalty"))]
        assert len(names) >= 2 * len(MODELS[name][1])
        for key in ("step", *names):
            assert float(other[key]) == pytest.approx(float(one[key]), rel=1e-6), key


@pytest.mark.parametrize(
    ("name", "model", "player"),
    [
        ("gan", GAN, "generator"),
        ("gan", GAN, "discriminator"),
        ("vae_gan", VAEGAN, "encoder"),
        ("vae_gan", VAEGAN, "decoder"),
        ("wae_gan", WAE, "autoencoder"),
        ("wae_gan", WAE, "discriminator"),
    ],
)
def test_a_loss_that_is_not_finite_names_its_phase_and_step(tmp_path, monkeypatch, name, model, player):
    """Between two steps that are logged; the checkpoint of the step before stays."""
    original = getattr(model, f"{player}_loss")

    def spoilt(self, batch, index):
        return original(self, batch, index) * (float("nan") if self.step == 5 else 1.0)

    monkeypatch.setattr(model, f"{player}_loss", spoilt)
    options = (*MODELS[name][0], *SMALL, "trainer.max_steps=20", "trainer.log_every_n_steps=10")
    with pytest.raises(UserError, match=rf"the {player} loss is not finite at step 6.*last\.ckpt"):
        train_run(tmp_path, *options, "checkpoint.every_n_steps=1")
    kept = Run.load(tmp_path).read_checkpoint()
    assert kept["global_step"] == 5
    assert all(value.isfinite().all() for value in kept["state_dict"].values() if value.is_floating_point())


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The weights after a step without a penalty, by the names of the models."""
    folder = tmp_path_factory.mktemp("without")
    runs = {name: train_run(folder / name, *MODELS[name][0], *SMALL, "trainer.max_steps=1")[0] for name in MODELS}
    return {name: run.read_checkpoint()["state_dict"] for name, run in runs.items()}


@pytest.mark.parametrize("penalty", ["r1", "r2", "gradient_penalty", "dragan", "lecam", "weight_clipping"])
@pytest.mark.parametrize("name", ["vae_gan", "wae_gan"])
def test_penalties_move_the_discriminator(tmp_path, without, name, penalty):
    """The same first step with and without: the other players' first update but for the discriminator is the same."""
    options, players = MODELS[name]
    options = (*options, *SMALL, "trainer.max_steps=1")
    weight = "limit=0.01" if penalty == "weight_clipping" else "weight=100"
    penalized, summary = train_run(
        tmp_path, *options, f"model/penalty={penalty}", f"model.penalty.{penalty}.{weight}"
    )
    a, b = without[name], penalized.read_checkpoint()["state_dict"]
    assert norm_of_change(a, b, players["discriminator"]) > 1e-4
    assert summary["metrics"][f"train/penalty_{penalty}"] >= 0
    if penalty == "weight_clipping":
        bound = [b[k].abs().max() for k in a if k.split(".")[0] in players["discriminator"]]
        assert max(bound) == pytest.approx(0.01)


class SquaredWeights(Penalty):
    """weight / 2 ||w||^2 of all the discriminator's parameters: one on weights, which has no value an image."""

    def forward(self, seen):
        return 0.5 * self.weight * sum(p.square().sum() for p in seen.discriminator.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_penalty_on_weights_adds_the_weights_to_their_gradient(tmp_path, name):
    run = make_run(tmp_path / "run", *MODELS[name][0], *SMALL)
    model = build_model(run.config, (1, 8, 8))
    discriminator = model.phases[0].modules[0]
    batch = model.drawn(Batch(torch.rand(6, 1, 8, 8), None))
    gradients = []
    for penalty in ({}, {"squared_weights": SquaredWeights(0.3)}):
        model.penalty.update(penalty)
        model.noise.start(0)
        model.zero_grad()
        model.phases[0].loss(batch, 0).backward()
        gradients.append([p.grad.clone() for p in discriminator.parameters()])
    for plain, penalized, weight in zip(*gradients, discriminator.parameters(), strict=True):
        torch.testing.assert_close(penalized, plain + 0.3 * weight)


@pytest.mark.parametrize("name", ["gan", "vae_gan"])
def test_spectral_norm_of_the_encoder_covers_the_head_of_the_discriminator(tmp_path, name):
    run = make_run(tmp_path / "run", *MODELS[name][0], *SMALL, "networks.spectral_norm=encoder")
    model = build_model(run.config, (1, 8, 8))
    linear = [m for m in model.discriminator.modules() if isinstance(m, nn.Linear)]
    assert all(is_parametrized(m, "weight") for m in linear)
