"""DIP-VAE's penalties against their closed forms and the formulas of the paper."""

import pytest
import torch

from lightning_gen.objectives.bounds import ELBO, Terms
from lightning_gen.objectives.dip_vae import DIPVAEI, DIPVAEII, covariance_penalty
from lightning_gen.objectives.posteriors import DiagonalGaussian, FullGaussian


def terms_of(q, count):
    zeros = torch.zeros(1, count, dtype=torch.float64)
    return Terms(zeros, torch.ones(count, 2, dtype=torch.float64), torch.zeros(1, count, 2), q)


def standardized(count, correlation):
    """Two columns of mean 0, variance 1 and this correlation, exactly."""
    values = torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = values - values.mean(dim=0)
    white = values @ torch.linalg.inv(torch.linalg.cholesky(values.T @ values / count)).T
    mixing = torch.tensor([[1.0, 0.0], [correlation, (1 - correlation**2) ** 0.5]], dtype=torch.float64)
    return white @ mixing.T


def test_the_penalty_of_a_known_covariance():
    """Means with variances 1 and 4 and correlation 0.5, posteriors with variances 0.25: (I) 2 1^2, 3^2; (II) 0.25^2 more."""
    means = standardized(50, 0.5) * torch.tensor([1.0, 2.0], dtype=torch.float64)
    q = DiagonalGaussian(means, torch.full((50, 2), 0.25, dtype=torch.float64).log())
    t = terms_of(q, 50)
    first = DIPVAEI(off_diagonal=10.0, diagonal=3.0)(t) - ELBO()(t)
    second = DIPVAEII(off_diagonal=10.0, diagonal=3.0)(t) - ELBO()(t)
    torch.testing.assert_close(first, torch.full((50,), 10.0 * 2 + 3.0 * 9, dtype=torch.float64))
    torch.testing.assert_close(second, torch.full((50,), 10.0 * 2 + 3.0 * (0.25**2 + 3.25**2), dtype=torch.float64))


@pytest.mark.parametrize("kind", [DIPVAEI, DIPVAEII])
def test_the_penalties_are_the_formulas_of_the_paper(kind):
    """sum_(i != j) Cov_ij^2 and sum_i (Cov_ii - 1)^2, with Cov[mu] = E[mu mu^T] - E[mu] E[mu]^T, plus E[Sigma] in II."""
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    scale = torch.randn(20, 3, 3, generator=generator, dtype=torch.float64).tril()
    q = FullGaussian(mean, scale)
    covariance = torch.stack([torch.outer(m, m) for m in mean]).mean(dim=0) - torch.outer(mean.mean(0), mean.mean(0))
    if kind is DIPVAEII:
        covariance = covariance + torch.stack([part @ part.T for part in scale]).mean(dim=0)
    expected = sum(
        (10.0 * covariance[i, j] ** 2 if i != j else 5.0 * (covariance[i, i] - 1) ** 2)
        for i in range(3)
        for j in range(3)
    )
    t = terms_of(q, 20)
    found = kind(off_diagonal=10.0, diagonal=5.0, beta=2.0)(t) - ELBO(beta=2.0)(t)
    torch.testing.assert_close(found, expected.expand(20))


def test_nothing_is_penalized_at_the_identity_and_for_one_image():
    assert float(covariance_penalty(torch.eye(4), 10.0, 100.0)) == 0
    q = DiagonalGaussian(standardized(50, 0.0), torch.zeros(50, 2, dtype=torch.float64))
    t = terms_of(q, 50)
    torch.testing.assert_close(DIPVAEI(off_diagonal=10.0, diagonal=100.0)(t), ELBO()(t))
    one = terms_of(DiagonalGaussian(torch.ones(1, 2), torch.zeros(1, 2)), 1)
    torch.testing.assert_close(DIPVAEII(off_diagonal=10.0, diagonal=100.0)(one), ELBO()(one))
