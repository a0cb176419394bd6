"""InfoGAN: its codes, the bound in both players' losses, and what it infers."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.infogan import InfoGAN
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.adversarial import NonSaturating
from lightning_gen.objectives.information import categorical_information, uniform_information
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, resume_run, train_run

ADAM = partial(torch.optim.Adam, lr=2e-3)


def make(**options):
    torch.manual_seed(0)
    networks = {"encoder": partial(MLPEncoder, widths=[16]), "decoder": partial(MLPDecoder, widths=[16])}
    options = {"latent_dim": 2, "categorical": [3, 4], "continuous": 2, **options}
    model = InfoGAN(
        (1, 4, 4), generator_optimizer=ADAM, discriminator_optimizer=ADAM, loss=NonSaturating(), **networks, **options
    )
    model._trainer = SimpleNamespace(world_size=1, global_step=0)
    return model


def test_codes_are_categories_then_numbers_then_noise():
    codes = make().draw(StepNoise(0), 6000)
    assert codes.shape == (6000, 3 + 4 + 2 + 2)
    for part, size in ((codes[:, :3], 3), (codes[:, 3:7], 4)):
        assert set(part.unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(part.sum(dim=1), torch.ones(6000))
        torch.testing.assert_close(part.mean(dim=0), torch.full((size,), 1 / size), atol=0.03, rtol=0)
    assert -1 <= float(codes[:, 7:9].min()) < -0.99 < 0.99 < float(codes[:, 7:9].max()) < 1
    assert abs(float(codes[:, 9:].std()) - 1) < 0.03


@pytest.mark.parametrize("deviation", ["fixed", "learned"])
@pytest.mark.parametrize("one_pass", [False, True])
def test_both_players_gain_the_weighted_bound_on_their_images(deviation, one_pass):
    """Chen et al. 2016, eq. 6: V(D, G) - lambda L_I(G, Q) in both losses; without weights, those of the GAN."""
    batch, losses = Batch(torch.rand(6, 1, 4, 4), None), []
    for weights in ((0.0, 0.0), (0.7, 0.2)):
        model = make(information_weights=weights, deviation=deviation, one_pass=one_pass)
        model.begin_step()
        losses.append((model.discriminator_loss(batch, 0), model.generator_loss(batch, 0)))
    model.begin_step()
    for plain, informed in zip(*losses, strict=True):
        images, codes = model.fakes(6, None)
        logits, mean, log_variance = model.inferred(model.classify(images, None).features)
        assert (float(log_variance.detach().abs().max()) == 0) == (deviation == "fixed")
        categories = [
            categorical_information(codes[:, :3], logits[0]),
            categorical_information(codes[:, 3:7], logits[1]),
        ]
        numbers = uniform_information(codes[:, 7:9], mean, log_variance)
        expected = 0.7 * sum(categories).mean() + 0.2 * numbers.mean()
        torch.testing.assert_close((plain - informed).detach(), expected.detach())


def test_q_learns_with_the_discriminator_and_codes_with_the_generator():
    """Q's own layers are the discriminator's; the bound alone gives gradients to both players."""
    model = make()
    phases = {phase.name: phase for phase in model.phases}
    own = {id(p) for p in model.discriminator.inference.parameters()}
    assert own <= {id(p) for group in phases["discriminator"].optimizer().param_groups for p in group["params"]}
    images, codes = model.fakes(6, None)
    model.information_loss(model.judge(images), codes).backward()
    for part in (model.generator, model.discriminator.encoder, model.discriminator.inference):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_q_learns_to_read_the_codes(tmp_path):
    """Of eight Gaussians on a ring, with eight categories: the bound comes from 0 to above half of log 8."""
    options = ("dataset=gaussians", "model.categorical=[8]", "model.continuous=0", "model.latent_dim=2")
    _, summary = train_run(tmp_path, "model=infogan", "networks=mlp", *options, "trainer.max_steps=250")
    assert 1.04 < summary["metrics"]["train/information_categorical"] <= 2.08


def test_what_is_inferred_comes_without_the_noise(tmp_path, drawn_pictures):
    run, summary = train_run(tmp_path, "model=infogan", "networks=mlp", "trainer.max_steps=2")
    model = load_model(run, "last")
    codes = model.encode(torch.rand(5, 1, 8, 8))
    assert codes.shape == (5, 74)
    torch.testing.assert_close(codes[:, :10].sum(dim=1), torch.ones(5))
    assert not codes[:, 12:].any()
    assert {"eval/reconstruction_mse", "train/information_continuous"} <= summary["metrics"].keys()
    assert all((tmp_path / name / "step_00000002.png").is_file() for name in ("categories", "traversals"))


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
    options = ("model=infogan", "networks=mlp", "model.categorical=[3,2]", "model.deviation=learned")
    whole, _ = train_run(tmp_path / "whole", *options, "trainer.max_steps=5")
    train_run(tmp_path / "parts", *options, "trainer.max_steps=3")
    parts, _ = resume_run(tmp_path / "parts", 5)
    for part in ("state_dict", "optimizer_states"):
        assert_same(whole.read_checkpoint()[part], parts.read_checkpoint()[part])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"categorical": [], "continuous": 0}, "needs codes"), ({"num_classes": 3}, "set conditional=false")],
)
def test_what_makes_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)
