"""Divergences against torch's, against Monte Carlo, and at the points where they are zero."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from lightning_gen.objectives.divergences import (
    decomposed_kl,
    full_gaussian_kl,
    gaussian_kl,
    gaussian_total_correlation,
    mmd,
)
from lightning_gen.objectives.posteriors import DiagonalGaussian


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def covariance(dim):
    root = torch.randn(dim, dim, dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(dim)


def test_kl_of_full_gaussians_is_that_of_torch():
    mean, other, a, b = torch.randn(4).double(), torch.randn(4).double(), covariance(4), covariance(4)
    expected = kl_divergence(MultivariateNormal(mean, a), MultivariateNormal(other, b))
    torch.testing.assert_close(full_gaussian_kl(mean, a, other, b), expected)
    assert full_gaussian_kl(mean, a, mean, a).item() == pytest.approx(0.0, abs=1e-9)


def test_total_correlation_of_a_gaussian():
    """Zero for independent codes; -1/2 log(1 - r^2) for two of correlation r."""
    assert gaussian_total_correlation(torch.diag(torch.rand(5) + 0.5)).item() == pytest.approx(0.0, abs=1e-6)
    r = 0.8
    two = torch.tensor([[4.0, 2 * r], [2 * r, 1.0]])
    assert gaussian_total_correlation(two).item() == pytest.approx(-0.5 * math.log(1 - r**2), rel=1e-5)


def test_total_correlation_of_independent_codes_is_zero():
    """All posteriors the prior itself: no information, no correlation, no divergence, in any batch."""
    q, z = DiagonalGaussian(torch.zeros(16, 3), torch.zeros(16, 3)), torch.randn(16, 3)
    log_prior = q.log_prob(z)
    for part in decomposed_kl(z, q, log_prior, size=1000):
        torch.testing.assert_close(part, torch.zeros(16), atol=1e-5, rtol=0)


def test_parts_of_the_kl_sum_to_it():
    q = DiagonalGaussian(torch.randn(16, 3), torch.randn(16, 3) - 1)
    z = q.draw(torch.randn(1, 16, 3))[0][0]
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
    parts = decomposed_kl(z, q, log_prior, size=1000)
    torch.testing.assert_close(sum(parts), q.log_prob(z) - log_prior)


def test_parts_of_the_kl_of_a_gaussian_data_set():
    """Means along a line in two dimensions: the aggregated posterior is Gaussian with a known correlation."""
    count = 4000
    position = torch.randn(count, 1)
    mean = torch.cat([position, position], dim=1)
    q = DiagonalGaussian(mean, torch.full((count, 2), math.log(0.25)))
    z = q.draw(torch.randn(1, count, 2))[0][0]
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
    information, correlation, each = (part.mean().item() for part in decomposed_kl(z, q, log_prior, size=count))
    assert correlation == pytest.approx(-0.5 * math.log(1 - (1 / 1.25) ** 2), abs=0.03)
    assert information == pytest.approx(0.5 * math.log((1.25**2 - 1) / 0.25**2), abs=0.05)
    assert each == pytest.approx(2 * 0.5 * (1.25 - 1 - math.log(1.25)), abs=0.03)


def test_one_image_alone_stands_for_all():
    """Its latent has no information and no correlation, whatever the size of the set; all is divergence."""
    q = DiagonalGaussian(torch.randn(1, 3), torch.randn(1, 3))
    z = q.draw(torch.randn(1, 1, 3))[0][0]
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
    for size in (1, 1000):
        information, correlation, each = decomposed_kl(z, q, log_prior, size)
        torch.testing.assert_close(torch.stack([information, correlation]), torch.zeros(2, 1), atol=1e-6, rtol=0)
        torch.testing.assert_close(each, q.log_prob(z) - log_prior)
    assert mmd(z, torch.randn(1, 3)).item() == 0.0


def test_mmd_is_unbiased_and_tells_samples_apart():
    values = torch.stack([mmd(torch.randn(40, 3), torch.randn(40, 3)) for _ in range(300)])
    assert abs(values.mean().item()) < 4 * values.std().item() / 300**0.5
    assert mmd(torch.randn(200, 3), torch.randn(200, 3) + 1).item() > 10 * values.std().item()


def test_mmd_by_hand():
    """Two points each, in one dimension; the unbiased estimate leaves a point's kernel with itself out."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])

    def kernel(distance):
        return sum(2 * s / (2 * s + distance**2) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))

    expected = kernel(1) + kernel(2) - 2 * (kernel(0) + kernel(2) + kernel(1) + kernel(1)) / 4
    assert mmd(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_gaussian_kl_sums_over_dimensions():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(
        gaussian_kl(mean, log_variance), DiagonalGaussian(mean, log_variance).standard_normal_kl().sum(dim=1)
    )
