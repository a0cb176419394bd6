"""FactorVAE: the total correlation of known Gaussians, and its two players."""

import math

import pytest
import torch

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.factor_vae import permuted
from lightning_gen.objectives.bounds import ELBO
from lightning_gen.randomness import GeneratorNoise, StepNoise
from lightning_gen.training.train import prepare
from tests.helpers import make_run, train_run

OPTIONS = ("model=factor_vae", "networks=mlp", "networks.encoder.widths=[8]", "model.widths=[32,32]")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(make_run(tmp_path / "run", *OPTIONS, "model.latent_dim=2").config, (1, 4, 4))


def correlated(count, r, generator):
    noise = torch.randn(count, 2, generator=generator)
    return torch.stack([noise[:, 0], r * noise[:, 0] + math.sqrt(1 - r**2) * noise[:, 1]], dim=1)


def test_permuted_codes_keep_the_margins_and_lose_the_correlation():
    generator = torch.Generator().manual_seed(0)
    codes = correlated(4000, 0.9, generator)
    found = permuted(codes, GeneratorNoise(generator))
    assert torch.equal(found.sort(dim=0).values, codes.sort(dim=0).values)
    assert abs(float(found.T.corrcoef()[0, 1])) < 0.06  # four standard errors


def test_the_best_discriminator_gives_the_total_correlation_of_a_gaussian(model):
    """log D / (1 - D) = log q(z) - sum_j log q(z_j); its mean is -1/2 log(1 - r^2)."""
    r, generator = 0.8, torch.Generator().manual_seed(0)
    joint = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, r], [r, 1.0]]))

    class Best(torch.nn.Module):
        def forward(self, codes):
            margins = torch.distributions.Normal(0.0, 1.0).log_prob(codes).sum(dim=1)
            return (joint.log_prob(codes) - margins).unsqueeze(1)

    model.discriminator = Best()
    found = model.log_ratio(correlated(100_000, r, generator)).mean()
    assert float(found) == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.01)


def test_a_trained_discriminator_finds_the_total_correlation(model):
    """The players' own loss on codes that are a known Gaussian, whatever the image."""
    r, generator = 0.8, torch.Generator().manual_seed(0)

    class Drawn:
        def draw(self, noise):
            return correlated(noise.shape[1], r, generator).unsqueeze(0), None

    model.posterior_of = lambda images, labels=None: Drawn()
    optimizer = torch.optim.Adam(model.discriminator.parameters())
    batch = Batch(torch.zeros(1000, 1, 4, 4), None)
    for step in range(400):
        model.noise.start(step)
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 400)
        optimizer.zero_grad()
        model.discriminator_loss(batch, step).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.log_ratio(correlated(50_000, r, generator)).mean()
    assert float(found) == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.05)


def test_the_losses_are_the_formulas_of_the_paper(model):
    batch = Batch(torch.rand(6, 1, 4, 4), None)
    noise = StepNoise(0)
    terms = model.terms(batch, noise)
    logits = model.discriminator(terms.latents[0]).squeeze(1)
    probability = logits.sigmoid()
    expected = ELBO()(terms) + 35.0 * (probability / (1 - probability)).log()
    torch.testing.assert_close(model.loss(terms), expected)

    class Given:
        def normal(self, shape, device):
            return terms.latents[0]

        def uniform(self, shape, device):
            return torch.linspace(0, 1, shape[0]).unsqueeze(1).expand(shape)  # no permutation

    class Same:
        def draw(self, noise):
            return noise, None

    model.noise, model.posterior_of = Given(), lambda images, labels=None: Same()
    model.likelihood.binarize = False
    expected = -0.5 * (probability.log() + (1 - probability).log()).mean()
    torch.testing.assert_close(model.discriminator_loss(batch, 0), expected)


def test_each_player_moves_its_own_weights(model):
    batch = Batch(torch.rand(6, 1, 4, 4), None)
    model.discriminator_loss(batch, 0).backward()
    assert all(p.grad is not None for p in model.discriminator.parameters())
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("discriminator"))
    players = [{id(p) for module in phase.modules for p in module.parameters()} for phase in model.phases]
    assert players[0] == {id(p) for p in model.discriminator.parameters()}
    assert players[0] | players[1] == {id(p) for p in model.parameters()}
    assert not players[0] & players[1]


def test_published_settings():
    """Kim & Mnih 2018, app. A: Adam 1e-4 with (0.9, 0.999) and (0.5, 0.9), six layers of 1000, ten latents."""
    config = compose(["model=factor_vae"]).model
    assert [config.optimizer.lr, *config.optimizer.betas] == [1e-4, 0.9, 0.999]
    assert [config.discriminator_optimizer.lr, *config.discriminator_optimizer.betas] == [1e-4, 0.5, 0.9]
    assert (list(config.widths), config.latent_dim, config.gamma) == ([1000] * 6, 10, 35.0)


def test_it_learns(tmp_path):
    options = ("model.optimizer.lr=3e-3", "dataset.batch_size=64", "trainer.max_steps=150", "model.latent_dim=3")
    _, summary = train_run(tmp_path, *OPTIONS, *options)
    metrics = summary["metrics"]
    assert metrics["eval/elbo"] > -32  # independent pixels at their means: about -34
    assert metrics["train/loss_discriminator"] < 0.75  # log 2 where it cannot tell codes from permuted ones


def test_a_batch_of_one_cannot_be_permuted(tmp_path):
    with pytest.raises(UserError, match=r"model=factor_vae permutes .* dataset\.batch_size to 2"):
        prepare(make_run(tmp_path / "run", *OPTIONS, "dataset.batch_size=1"))
