"""The two-layer VAE against closed forms."""

import math

import pytest
import torch

from lightning_gen.config.build import build, build_data, build_model
from lightning_gen.config.compose import compose
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.hierarchical_vae import Normal
from lightning_gen.objectives.divergences import gaussian_kl
from lightning_gen.objectives.likelihoods import Gaussian
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.loading import load_model
from tests.helpers import make_run, train_run

OPTIONS = ("model=hierarchical_vae", "networks=mlp", "model.latent_dims=[3,2]", "model.widths=[5]")
OPTIONS += ("networks.encoder.widths=[6]", "networks.encoder.activation=tanh")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(make_run(tmp_path / "run", *OPTIONS).config, (1, 4, 4))


def started(step=0):
    noise = StepNoise(0)
    noise.start(step)
    return noise


def standard(dim):
    return lambda values: Normal(torch.zeros(len(values), dim), torch.zeros(len(values), dim))


def test_densities_are_normal():
    q = Normal(torch.randn(4, 3), torch.randn(4, 3))
    values = q.draw(torch.randn(4, 3))
    expected = torch.distributions.Normal(q.mean, q.log_sigma.exp()).log_prob(values).sum(dim=1)
    torch.testing.assert_close(q.log_prob(values), expected)
    torch.testing.assert_close(q.draw(q.noise_of(values)), values)


def test_without_a_second_layer_it_is_the_one_layer_bound(model):
    """p(h1|h2) = N(0, I) and q(h2|h1) = N(0, I): log w is that of a VAE, whose divergence is known."""
    model.prior1.forward, model.posterior2.forward = standard(3), standard(2)
    images = torch.rand(4, 1, 4, 4)
    drawn = model.draws(images, torch.randn(4, 20_000, 5, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(drawn.kl2, torch.zeros(80_000))
    q = model.posterior1(model.encoder(images))
    exact = gaussian_kl(q.mean, 2 * q.log_sigma)
    torch.testing.assert_close(drawn.kl1.view(4, -1).mean(dim=1), exact, atol=0.03, rtol=0)


def test_many_draws_meet_the_exact_likelihood(model):
    """x | h1 ~ N(A h1, s^2), h1 | h2 ~ N(B h2, t^2), h2 ~ N(0, I): x ~ N(0, A (B B' + t^2) A' + s^2)."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(16, 3, generator=generator), torch.randn(3, 2, generator=generator)
    s, t = 1.0, 0.5
    model.decoder = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Unflatten(1, (1, 4, 4)))
    model.likelihood = Gaussian(s, learned=False)
    with torch.no_grad():
        model.decoder[0].weight.copy_(a)
        model.decoder[0].bias.zero_()
    model.prior1.forward = lambda h2: Normal(h2 @ b.T, torch.full((len(h2), 3), math.log(t)))
    covariance1 = b @ b.T + t**2 * torch.eye(3)
    covariance = a @ covariance1 @ a.T + s**2 * torch.eye(16)
    images = torch.distributions.MultivariateNormal(torch.zeros(16), covariance).sample((5,)).view(5, 1, 4, 4)
    gain = covariance1 @ a.T @ covariance.inverse()  # of E[h1 | x]
    spread = (covariance1 - gain @ a @ covariance1).diagonal().sqrt()
    model.encoder = torch.nn.Flatten()
    model.posterior1.forward = lambda x: Normal(x @ gain.T, (1.3 * spread).log().expand(len(x), 3))
    gain2 = b.T @ covariance1.inverse()  # of E[h2 | h1]
    spread2 = (torch.eye(2) - gain2 @ b).diagonal().sqrt()
    model.posterior2.forward = lambda h1: Normal(h1 @ gain2.T, (1.3 * spread2).log().expand(len(h1), 2))
    exact = torch.distributions.MultivariateNormal(torch.zeros(16), covariance).log_prob(images.flatten(1))
    with torch.no_grad():
        many = model.bounds(Batch(images, None), started(), k=20_000)
        few = model.bounds(Batch(images, None), started(), k=1)
    torch.testing.assert_close(many["bound"], exact, atol=0.1, rtol=0)
    assert few["bound"].mean() < exact.mean()
    assert (many["elbo"] < exact).all()


def test_the_test_likelihood_has_the_same_weights(model):
    images, epsilon = torch.rand(3, 1, 4, 4).round(), torch.randn(3, 4, 5)
    drawn = model.draws(images, epsilon)
    expected = (drawn.log_likelihood - drawn.kl1 - drawn.kl2).view(3, 4).T
    densities = model.densities(Batch(images, None), started())
    codes, log_q = densities.draw(epsilon.transpose(0, 1))
    torch.testing.assert_close(densities.log_joint(codes) - log_q, expected)


def test_the_bound_grows_with_k(model):
    batch = Batch(torch.rand(64, 1, 4, 4), None)
    with torch.no_grad():
        bounds = [float(model.bounds(batch, started(), k)["bound"].mean()) for k in (1, 10, 100)]
    assert bounds[0] < bounds[1] < bounds[2]


def test_one_draw_makes_both_objectives_equal(model):
    terms = model.bounds(Batch(torch.rand(6, 1, 4, 4), None), started(), 1)
    torch.testing.assert_close(terms["bound"], terms["elbo"])
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - terms["kl_layer1"] - terms["kl_layer2"])


def test_codes_decode_to_what_they_came_from(model):
    images = torch.rand(5, 1, 4, 4)
    h1 = model.posterior1(model.encoder(images)).mean
    torch.testing.assert_close(model.decode(model.encode(images)), model.decoder(h1).sigmoid())
    assert model.encode(images).shape == (5, 5)


def test_samples_are_ancestral(model):
    """h1 of decoded N(0, I) codes has the mean and the variance of p(h1|h2)."""
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    h2 = torch.randn(1, 2).expand(20_000, 2)
    model.decode(torch.cat([h2, torch.randn(20_000, 3)], dim=1))
    p = model.prior1(h2[:1])
    torch.testing.assert_close(seen[0].mean(dim=0), p.mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=0).log(), p.log_sigma[0], atol=0.03, rtol=0)


def test_training_begins_at_the_mean_image(tmp_path):
    run, _ = train_run(tmp_path, *OPTIONS, "trainer.max_steps=1", "model.optimizer.lr=0")
    model, images = load_model(run, "last"), build_data(run.config).train.images
    bias = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)][-1].bias
    expected = (images.double().mean(dim=0).flatten() / 255).clamp(0.001, 0.999)
    torch.testing.assert_close(bias.sigmoid().double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("objective", ["iwae", "elbo"])
def test_it_learns(tmp_path, objective):
    options = (f"model.objective={objective}", "model.k=5", "model.optimizer.lr=3e-3", "dataset.batch_size=64")
    _, summary = train_run(tmp_path, *OPTIONS, *options, "trainer.max_steps=200", "dataset.binarize=static")
    metrics = summary["metrics"]
    assert metrics["eval/elbo"] <= metrics["eval/bound"]
    assert metrics["eval/bound"] > -32  # independent pixels at their means: about -34


def test_mistakes_are_told_before_training(tmp_path):
    for key in ("model.objective=nonsense", "model.k=0", "model.latent_dims=[3]"):
        with pytest.raises(UserError, match=key.split("=")[0]):
            train_run(tmp_path, *OPTIONS, key)


def test_the_published_recipe():
    """784-[200,200]->100-[100,100]->50; the learning rate 1e-3 * 10^(-i/7) for 3^i epochs."""
    config = compose(["experiment=iwae50_2layer_mnist"])
    model = build_model(config, (1, 28, 28))
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    sizes = [
        (784, 200),
        (200, 200),
        (200, 200),
        (100, 100),
        (100, 100),
        (100, 100),
        (50, 100),
        (100, 100),
        (100, 200),
    ]
    sizes += [(100, 200), (200, 200), (200, 784)]
    assert [(m.in_features, m.out_features) for m in linear] == sizes
    schedule, epochs = build(config.schedule), 3280
    assert config.trainer.max_steps * config.dataset.batch_size == epochs * 60_000
    for i in range(8):
        begins = (3**i - 1) // 2
        for epoch in (begins + 0.02, begins + 3**i - 0.02):
            factor = schedule(round(epoch * 3000), config.trainer.max_steps)
            assert factor == pytest.approx(10 ** (-i / 7))
