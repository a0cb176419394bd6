"""The bound on mutual information against channels whose information is known."""

import math

import pytest
import torch

from lightning_gen.objectives.information import categorical_information, uniform_information


def channel(kept=0.7, size=4):
    """P(x|c) of a code of equal chances that becomes each other symbol with the same chance: [c, x], and I(c; x)."""
    table = torch.full((size, size), (1 - kept) / (size - 1), dtype=torch.float64)
    table.fill_diagonal_(kept)
    return table, math.log(size) + float((table[0] * table[0].log()).sum())


def test_the_true_posterior_gives_the_information_itself():
    table, information = channel()
    codes = torch.eye(4, dtype=torch.float64).repeat_interleave(4, dim=0)  # each pair (c, x) once
    posterior = table.T.log().repeat(4, 1)  # log P(c|x) = log P(x|c) - log 4 + log 4, of each x
    bound = (table.flatten() / 4 * categorical_information(codes, posterior)).sum()
    assert float(bound) == pytest.approx(information, abs=1e-12)


def test_another_q_loses_its_divergence_from_the_posterior():
    table, information = channel()
    codes = torch.eye(4, dtype=torch.float64).repeat_interleave(4, dim=0)
    q = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    bound = (table.flatten() / 4 * categorical_information(codes, q.log().expand(16, 4))).sum()
    divergence = (table.T / 4 * (table.T.log() - q.log())).sum()
    assert float(bound) == pytest.approx(information - float(divergence), abs=1e-12)
    assert float(categorical_information(codes, torch.zeros(16, 4)).abs().max()) < 1e-6  # a Q that knows nothing


def test_the_bound_of_continuous_codes_is_the_formula():
    """log 2 for each code, the entropy of U[-1, 1), plus the log-density of PyTorch's Gaussian."""
    codes = 2 * torch.rand(50, 3, dtype=torch.float64) - 1
    mean, log_variance = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    gaussian = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = 3 * math.log(2) + gaussian.log_prob(codes).sum(dim=1)
    torch.testing.assert_close(uniform_information(codes, mean, log_variance), expected, rtol=1e-12, atol=1e-12)


def test_the_bound_stays_below_the_information_of_a_noisy_code():
    """x = c + U[-1, 1): h(x) - log 2 with the triangular density of x, h(x) = log 2 + 1/2. Q is the best Gaussian."""
    generator = torch.Generator().manual_seed(0)
    code, noise = 2 * torch.rand(2, 200_000, 1, generator=generator, dtype=torch.float64) - 1
    x = code + noise
    half = (2 - x.abs()) / 2  # c given x is uniform on an interval of this half width around x / 2
    bound = uniform_information(code, x / 2, (half.square() / 3).log()).mean()
    information = 0.5
    loss = 0.5 * math.log(2 * math.pi * math.e / 12)  # of a Gaussian in place of a uniform density of its variance
    assert float(bound) == pytest.approx(information - loss, abs=5e-3)
