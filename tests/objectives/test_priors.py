"""Priors: densities that integrate to one, draws that follow them, the VampPrior's definition."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from lightning_gen.objectives import priors
from lightning_gen.objectives.posteriors import Diagonal
from lightning_gen.objectives.priors import FlowPrior, Mixture, StandardNormal, Vamp

SHAPE = (1, 2, 2)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def encoder(dim):
    head = Diagonal(4, dim)
    return lambda images: head(images.flatten(1))


def make(kind, dim=2):
    prior = kind(dim, SHAPE, **({"components": 3} if kind in (Mixture, Vamp) else {}))
    for parameter in prior.parameters():
        if kind is not Vamp:
            nn.init.normal_(parameter, std=0.1 if kind is FlowPrior else 0.5)
    return prior


@pytest.mark.parametrize("kind", [StandardNormal, Mixture, Vamp, FlowPrior])
def test_priors_integrate_to_one(kind):
    axis = torch.linspace(-9, 9, 400)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = make(kind).log_prob(grid, encoder(2)).exp().view(400, 400)
    assert torch.trapezoid(torch.trapezoid(density, axis), axis).item() == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("kind", [StandardNormal, Mixture, Vamp, FlowPrior])
def test_draws_follow_the_density(kind):
    """E_p[N(z) / p(z)] = 1 for any normalized N with thin tails."""
    prior, encode = make(kind), encoder(2)
    with torch.no_grad():
        draws = prior(torch.randn(100_000, 2), torch.rand(100_000), encode)
        narrow = Independent(Normal(draws.mean(dim=0), 0.5 * draws.std(dim=0)), 1)
        ratios = (narrow.log_prob(draws) - prior.log_prob(draws, encode)).exp()
    assert ratios.mean().item() == pytest.approx(1.0, abs=5 * ratios.std().item() / 100_000**0.5)


def test_mixture_is_that_of_torch():
    prior, z = make(Mixture), torch.randn(5, 7, 2)
    components = Independent(Normal(prior.means, (0.5 * prior.log_variances).exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=prior.logits), components).log_prob(z)
    torch.testing.assert_close(prior.log_prob(z, encoder(2)), expected)


def test_vamp_prior_is_the_mean_of_posteriors(monkeypatch):
    """p(z) = 1/K sum_k q(z|u_k) (Tomczak & Welling 2018, eq. 9), also where the latents come in parts."""
    encode, z = encoder(2), torch.randn(4, 5, 2)
    prior = make(Vamp)
    images = torch.rand(3, *SHAPE) * 0.9 + 0.05
    prior.start_from(images)
    densities = [encode(one.unsqueeze(0)).log_prob(z.unsqueeze(-2)).squeeze(-1).exp() for one in images]
    expected = (sum(densities) / 3).log()
    torch.testing.assert_close(prior.log_prob(z, encode), expected)
    monkeypatch.setattr(priors, "MOST_NUMBERS", 12)
    torch.testing.assert_close(prior.log_prob(z, encode), expected)


def test_pseudo_inputs_learn():
    prior, encode = make(Vamp), encoder(2)
    prior.log_prob(torch.randn(5, 2), encode).sum().backward()
    assert prior.pseudo_inputs.grad.abs().sum() > 0


def test_flow_prior_draws_are_the_inverse_of_noise():
    prior, noise = make(FlowPrior, dim=3).double(), torch.randn(6, 3).double()
    z = prior(noise, torch.rand(6), encoder(3))
    torch.testing.assert_close(prior.flow(z)[0], noise)
    expected = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(dim=1) + prior.flow(z)[1]
    torch.testing.assert_close(prior.log_prob(z, encoder(3)), expected)


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical"])
def test_mixtures_of_every_covariance_are_those_of_torch(covariance):
    prior, z = Mixture(3, SHAPE, 4, covariance).double(), torch.randn(5, 7, 3).double()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.5)
    components = MultivariateNormal(prior.means, covariances := covariance_matrices(prior))
    expected = MixtureSameFamily(Categorical(logits=prior.logits), components)
    torch.testing.assert_close(prior.log_prob(z), expected.log_prob(z))
    assert torch.autograd.gradcheck(lambda *_: prior.log_prob(z[0]), tuple(prior.parameters()))
    with torch.no_grad():
        draws = prior(torch.randn(200_000, 3), torch.rand(200_000))
    torch.testing.assert_close(draws.mean(dim=0), expected.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(draws.var(dim=0), expected.variance, atol=0.05, rtol=0.03)
    moments = {"full": covariances, "tied": covariances[0], "diagonal": prior.log_variances.exp()}
    same = Mixture(3, SHAPE, 4, covariance).double()
    same.set_to(prior.log_weights.exp(), prior.means, moments.get(covariance, prior.log_variances.exp()[:, 0]))
    torch.testing.assert_close(same.log_prob(z), prior.log_prob(z))


def covariance_matrices(prior):
    """[K, Z, Z], from the definition of the parameters."""
    count, size = prior.means.shape
    if prior.covariance in ("diagonal", "spherical"):
        return torch.diag_embed(prior.log_variances.exp().expand(count, size))
    scale = torch.diag_embed((prior.log_variances / 2).exp().expand(count, size))
    rows, columns = torch.tril_indices(size, size, -1)
    scale[:, rows, columns] = prior.lower.expand(count, -1)
    return scale @ scale.mT
