"""The deep hierarchical VAE: its densities, its bound, and one layer as the ordinary VAE."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lightning_gen.config.build import build_data, build_model
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.metrics.likelihood import importance_sampled
from lightning_gen.networks.ladder import LadderDecoder, LadderEncoder
from lightning_gen.objectives.bounds import ELBO, IWAE
from lightning_gen.objectives.likelihoods import Gaussian
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.loading import load_model
from tests.helpers import make_run, train_run

OPTIONS = ("model=ladder_vae", "networks.encoder.width=6", "networks.decoder.channels=2")


class Given:
    def __init__(self, epsilon):
        self.epsilon = epsilon

    def uniform(self, shape, device):
        return torch.full(shape, 0.5)  # the images are binary: they stay as they are

    def normal(self, shape, device):
        return self.epsilon


def made(tmp_path, *options, shape=(1, 16, 16)):
    """A model with random priors, which start at N(0, I)."""
    torch.manual_seed(0)
    model = build_model(make_run(tmp_path / "run", *OPTIONS, *options).config, shape)
    for layer in model.decoder.layers:
        if layer.prior_net is not None:
            torch.nn.init.normal_(layer.prior_net.weight, std=0.1)
            torch.nn.init.normal_(layer.prior_net.bias, std=0.3)
    return model


@pytest.fixture
def model(tmp_path):
    return made(tmp_path)


def by_hand(model, images, epsilon):
    """Raw output, KL of each layer and log q - log p of the drawn latents, by torch.distributions."""
    decoder, maps = model.decoder, model.encoder.maps(images)
    features = decoder.start(torch.ones(len(images), 1))
    kls, ratio = [], 0.0
    for index, (layer, noise) in enumerate(zip(decoder.layers, decoder.parts(epsilon), strict=True)):
        scale = decoder.scale_of[index]
        if index and scale != decoder.scale_of[index - 1]:
            features = decoder.grow[scale - 1](features)
        p, q = layer.prior(features), layer.posterior(features, maps[scale])
        p, q = Normal(p[0], (0.5 * p[1]).exp()), Normal(q[0], (0.5 * q[1]).exp())
        latents = q.mean + q.stddev * noise.view(q.mean.shape)
        kls.append(kl_divergence(q, p).flatten(1).sum(dim=1))
        ratio = ratio + (q.log_prob(latents) - p.log_prob(latents)).flatten(1).sum(dim=1)
        features = layer(features, latents)
    return decoder.out(decoder.grow[-1](features)), torch.stack(kls, dim=1), ratio


def test_the_bound_is_that_of_the_densities_of_all_layers(model):
    assert len(model.decoder.layers) == 4
    images, epsilon = torch.rand(3, 1, 16, 16).round(), torch.randn(3, 1, model.latent_dim)
    raw, kls, ratio = by_hand(model, images, epsilon[:, 0])
    terms = model.terms(Batch(images, None), Given(epsilon))
    expected = torch.distributions.Bernoulli(logits=raw).log_prob(images).flatten(1).sum(dim=1)
    torch.testing.assert_close(terms.log_likelihood[0], expected)
    torch.testing.assert_close(terms.kl, kls.flip(dims=(1,)))
    torch.testing.assert_close((terms.log_q - terms.log_prior)[0], ratio, atol=1e-4, rtol=1e-5)
    parts = model.parts(terms)
    layers = sum(parts[f"kl_layer{index}"] for index in (1, 2, 3, 4))
    torch.testing.assert_close(parts["elbo"], expected - layers)
    torch.testing.assert_close(parts["kl"], layers)
    torch.testing.assert_close(parts["bound"], expected - ratio, atol=1e-4, rtol=1e-5)


def test_one_layer_is_the_vae(tmp_path):
    """The KL from N(0, I) in closed form, and the same bound as model=vae has for these posteriors."""
    model = made(tmp_path, "networks.decoder.layers=1", shape=(1, 8, 8))
    images = torch.rand(5, 1, 8, 8).round()
    seen = model.encoder.maps(images)[0]
    mean, log_variance = model.decoder.layers[0].posterior(model.decoder.start(torch.ones(5, 1)), seen)
    expected = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1)
    epsilon = torch.randn(5, 1, model.latent_dim)
    terms = model.terms(Batch(images, None), Given(epsilon))
    torch.testing.assert_close(terms.kl, expected.unsqueeze(1))
    latents = mean.flatten(1) + (0.5 * log_variance).exp().flatten(1) * epsilon[:, 0]
    torch.testing.assert_close(terms.latents[0], latents)
    bound = model.log_likelihood(latents.unsqueeze(0), images)[0] - expected
    torch.testing.assert_close(-model.loss(terms), bound)


def test_importance_sampling_agrees_with_the_exact_likelihood(tmp_path):
    """Without activations and with constant posteriors, x is linear in the codes, and its density is a Gaussian."""
    options = ("networks.decoder.layers=2", "networks.decoder.channels=1", "networks.encoder.width=2")
    model = made(tmp_path, *options, shape=(1, 8, 8)).double()
    torch.manual_seed(1)
    first, second = model.decoder.layers
    for layer in (first, second):
        layer.block.outer.weight.data.zero_()
        layer.block.outer.bias.data.zero_()
        layer.posterior_net[2].weight.data.zero_()  # q is a constant
        layer.posterior_net[2].bias.data.copy_(torch.tensor([0.0, -0.1]))
    for linear in (second.prior_net, model.decoder.grow[0][1], model.decoder.out[1]):
        torch.nn.init.normal_(linear.weight, std=0.03 if linear is second.prior_net else 0.09)
    second.prior_net.weight.data[1].zero_()
    second.prior_net.bias.data.copy_(torch.tensor([0.1, 0.0]))
    model.decoder.out[0] = torch.nn.Identity()
    model.likelihood = Gaussian(1.5, learned=False).double()

    def image(codes):
        return model.decoder(codes).flatten(1)

    with torch.no_grad():
        middle = image(torch.zeros(1, 32, dtype=torch.float64))
        matrix = (image(torch.eye(32, dtype=torch.float64)) - middle).T  # image = matrix e + middle
        exact = torch.distributions.MultivariateNormal(
            middle[0], matrix @ matrix.T + 1.5**2 * torch.eye(64, dtype=torch.float64)
        )
        images = exact.sample((4,)).view(4, 1, 8, 8)
        densities = model.densities(Batch(images, None), StepNoise(0))
        generator = torch.Generator().manual_seed(0)
        found = importance_sampled(densities, 8_000, torch.device("cpu"), generator, torch.float64)
        bound = model.terms(Batch(images, None), Given(torch.randn(4, 1, 32, dtype=torch.float64)))
    torch.testing.assert_close(found, exact.log_prob(images.flatten(1)), atol=0.1, rtol=0)
    assert float((found - exact.log_prob(images.flatten(1))).mean()) == pytest.approx(0, abs=0.05)
    assert (-bound.reconstruction - bound.kl.sum(dim=1)).mean() < found.mean()


def test_codes_decode_to_what_they_came_from(model):
    images = torch.rand(3, 1, 16, 16)
    codes = model.encode(images)
    assert codes.shape == (3, model.latent_dim)
    raw, *_ = by_hand(model, images, torch.zeros(3, model.latent_dim))
    torch.testing.assert_close(model.decode(codes), raw.sigmoid())


def test_several_draws_are_those_of_one_by_one(model):
    images, epsilon = torch.rand(3, 1, 16, 16).round(), torch.randn(3, 2, model.latent_dim)
    model.objective = IWAE(samples=2)
    together = model.terms(Batch(images, None), Given(epsilon))
    model.objective = ELBO()
    for draw in range(2):
        alone = model.terms(Batch(images, None), Given(epsilon[:, draw : draw + 1]))
        torch.testing.assert_close(together.log_weights[draw], alone.log_weights[0], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("size", [28, 32])
def test_sizes_of_digits_and_of_cifar(size):
    """Resolutions 7, 14 and 4, 8, 16, with two layers of four numbers for each position."""
    encoder = LadderEncoder((1, size, size), width=4)
    decoder = LadderDecoder(None, (30, size, size), width=4)
    sides = {28: [7, 14], 32: [4, 8, 16]}[size]
    assert [each.shape[2] for each in encoder.maps(torch.rand(2, 1, size, size))] == sides
    assert decoder.code_dim == 2 * 4 * sum(side**2 for side in sides)
    assert decoder(torch.randn(2, decoder.code_dim)).shape == (2, 30, size, size)


def test_it_learns_and_states_bits_per_dimension(tmp_path):
    options = ("model/likelihood=logistic_mixture", "dataset.batch_size=32", "trainer.max_steps=80")
    run, summary = train_run(tmp_path, *OPTIONS, *options, "model.optimizer.lr=5e-3", "trainer.gradient_clip_val=100")
    metrics = summary["metrics"]
    layers = sum(metrics[f"eval/kl_layer{index}"] for index in (1, 2))
    assert metrics["eval/kl"] == pytest.approx(layers, rel=1e-5)
    assert metrics["eval/bits_per_dim"] == pytest.approx(-metrics["eval/elbo"] / 64 / 0.6931472, rel=1e-5)
    assert metrics["eval/bits_per_dim"] < 5  # a uniform guess: 8; before training: about 7
    assert summary["protocol"]["eval/bits_per_dim"]["split"] == "test"
    model, images = load_model(run, "last"), build_data(run.config).test.images[:5] / 255
    assert model.sample(3, torch.Generator().manual_seed(0)).shape == (3, 1, 8, 8)
    assert model.reconstruct(images).shape == images.shape


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(UserError, match="networks=ladder"):
        build_model(make_run(tmp_path / "run", "model=ladder_vae", "networks=conv").config, (1, 8, 8))
