"""log p(x) against the exact likelihood of a linear-Gaussian model, and the statistics of posteriors."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from lightning_gen.metrics.likelihood import annealed, importance_sampled, reverse_annealed
from lightning_gen.metrics.posterior_statistics import posterior_statistics
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.flows import AutoregressiveStack
from lightning_gen.objectives.posteriors import DiagonalGaussian, Flow, FullGaussian

DIM, Z, SIGMA = 6, 2, 0.5
CPU = torch.device("cpu")


def linear_gaussian(count=8, widen=1.3, dtype=torch.float64):
    """x | z ~ N(W z + b, s^2 I), z ~ N(0, I); q is the exact posterior with its deviations `widen` times as wide."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(DIM, Z, generator=generator, dtype=dtype)
    bias = torch.linspace(-1, 1, DIM, dtype=dtype)
    x = torch.randn(count, Z, generator=generator, dtype=dtype) @ weight.T + bias
    x = x + SIGMA * torch.randn(count, DIM, generator=generator, dtype=dtype)
    precision = weight.T @ weight / SIGMA**2 + torch.eye(Z, dtype=dtype)
    covariance = torch.linalg.inv(precision)
    mean = (x - bias) @ weight / SIGMA**2 @ covariance
    q = FullGaussian(mean, widen * torch.linalg.cholesky(covariance).expand(count, Z, Z))

    def log_likelihood(z):
        error = (x - z @ weight.T - bias) / SIGMA
        return -0.5 * (error.square() + math.log(2 * math.pi * SIGMA**2)).sum(dim=-1)

    densities = Densities(
        shape=(count, Z),
        draw=q.draw,
        log_prior=lambda z: -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1),
        log_likelihood=log_likelihood,
        draw_prior=lambda normal, uniform: normal,
        values=DIM,
    )
    marginal = MultivariateNormal(bias, weight @ weight.T + SIGMA**2 * torch.eye(DIM, dtype=dtype))
    return densities, marginal.log_prob(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_importance_sampling_meets_the_exact_likelihood(dtype):
    densities, exact = linear_gaussian(dtype=dtype)
    found = importance_sampled(densities, 5000, CPU, torch.Generator().manual_seed(0), dtype)
    assert found.dtype == torch.float64
    assert found.mean().item() == pytest.approx(exact.mean().item(), abs=0.01)
    torch.testing.assert_close(found, exact.double(), atol=0.05, rtol=0)


def test_the_exact_posterior_needs_one_draw():
    densities, exact = linear_gaussian(widen=1.0)
    found = importance_sampled(densities, 1, CPU, torch.Generator().manual_seed(0), torch.float64)
    torch.testing.assert_close(found, exact)


def test_draws_in_parts_are_one_average(monkeypatch):
    """With the exact posterior every part gives the same; a wrong average over uneven parts would not."""
    densities, exact = linear_gaussian(widen=1.0)
    monkeypatch.setattr("lightning_gen.metrics.likelihood.MOST_VALUES", {"cpu": 8 * DIM * 3})
    found = importance_sampled(densities, 10, CPU, torch.Generator().manual_seed(0), torch.float64)
    torch.testing.assert_close(found, exact)


def test_annealed_importance_sampling_meets_the_exact_likelihood():
    densities, exact = linear_gaussian(count=4)
    found = annealed(densities, 512, 300, CPU, torch.Generator().manual_seed(0), leapfrog=5, dtype=torch.float64)
    assert found.mean().item() == pytest.approx(exact.mean().item(), abs=0.01)


def test_annealing_both_ways_brackets_the_exact_likelihood():
    """From the prior: a lower bound in expectation; from exact posterior draws: an upper bound."""
    densities, exact = linear_gaussian(count=100, widen=1.0)
    generator = torch.Generator().manual_seed(0)
    posterior = densities.draw(torch.randn(1, 100, Z, generator=generator, dtype=torch.float64))[0][0]
    options = {"device": CPU, "generator": generator, "leapfrog": 5, "dtype": torch.float64}
    lower = annealed(densities, 16, 700, **options) - exact
    upper = reverse_annealed(densities, posterior, 16, 700, **options) - exact
    assert -0.05 < lower.mean().item() < 0 < upper.mean().item() < 0.05
    coarse = reverse_annealed(densities, posterior, 4, 20, **options) - exact
    assert coarse.mean().item() > 0.1  # with few steps the bound is loose, and still above


def test_active_units_and_the_aggregated_posterior():
    """One used dimension of variance 1 + 1, one idle: N(0, 1) with a mean of variance zero."""
    position = torch.linspace(-1, 1, 1001).double()
    position = position / position.std(correction=0)
    mean = torch.stack([position, torch.zeros_like(position)], dim=1)
    q = DiagonalGaussian(mean, torch.zeros_like(mean))
    found = posterior_statistics(
        [DiagonalGaussian(*part) for part in zip(*(x.split(400) for x in (q.mean, q.log_variance)), strict=True)]
    )
    assert found["active_units"] == 1
    assert found["kl_max"] == pytest.approx(0.5)  # half the mean of the squared means
    assert found["kl_min"] == pytest.approx(0.0)
    assert found["total_correlation"] == pytest.approx(0.0, abs=1e-9)
    assert found["aggregate_kl"] == pytest.approx(0.5 * (2 - 1 - math.log(2)))


def test_statistics_of_correlated_codes_against_a_prior_of_the_same_moments():
    mean = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)).double().repeat(1, 2)
    covariance = torch.tensor([[0.5, 0.1], [0.1, 0.5]]).double()
    q = FullGaussian(mean, torch.linalg.cholesky(covariance).expand(2000, 2, 2))
    whole = covariance + mean.T.cov(correction=0)
    draws = MultivariateNormal(mean.mean(dim=0), whole).sample((200_000,))
    found = posterior_statistics([q], draws)
    r = (whole[0, 1] / whole[0, 0]).item()
    assert found["total_correlation"] == pytest.approx(-0.5 * math.log(1 - r**2))
    assert found["aggregate_kl"] == pytest.approx(0.0, abs=1e-3)
    assert "kl_max" not in found  # of N(0, I) only


def test_flows_have_active_units_only():
    flow, base = AutoregressiveStack(2, 1, [4]), DiagonalGaussian(torch.randn(50, 2), torch.zeros(50, 2))
    assert set(posterior_statistics([Flow(base, flow)])) == {"active_units"}
