"""Images drawn from a likelihood have its probabilities, or its density."""

import pytest
import torch

from lightning_gen.objectives.discrete_likelihoods import Categorical, LogisticMixture
from lightning_gen.objectives.likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    OptimalGaussian,
    PixelGaussian,
)
from lightning_gen.randomness import GeneratorNoise
from tests.objectives.test_likelihoods import one_pixel


def draws(likelihood, raw, count=20_000):
    """Images [count, C, H, W] drawn for one raw output [1, C', H, W]."""
    noise = GeneratorNoise(torch.Generator().manual_seed(0))
    return likelihood.draw(raw.expand(count, *raw.shape[1:]), noise)


@pytest.mark.parametrize("likelihood", [Categorical(levels=5), LogisticMixture(components=2, levels=5), Bernoulli()])
def test_discrete_draws_have_the_probabilities(likelihood):
    torch.manual_seed(0)
    raw = torch.randn(1, likelihood.channels(1), 1, 1)
    levels = getattr(likelihood, "levels", 2)
    expected = likelihood.log_prob(raw, one_pixel(torch.arange(levels) / (levels - 1))).exp()
    found = (
        torch.bincount((draws(likelihood, raw) * (levels - 1)).round().long().flatten(), minlength=levels) / 20_000
    )
    torch.testing.assert_close(found, expected, atol=0.015, rtol=0)  # four standard errors


def test_draws_of_a_logistic_mixture_of_colours_have_the_probabilities():
    torch.manual_seed(0)
    likelihood = LogisticMixture(components=3, levels=3)
    raw = torch.randn(1, likelihood.channels(3), 1, 1)
    axis = torch.arange(3) / 2
    expected = likelihood.log_prob(raw, torch.cartesian_prod(axis, axis, axis).view(-1, 3, 1, 1)).exp()
    index = (draws(likelihood, raw)[:, :, 0, 0] * 2).round().long() @ torch.tensor([9, 3, 1])
    torch.testing.assert_close(torch.bincount(index, minlength=27) / 20_000, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize(
    "likelihood",
    [ContinuousBernoulli(), Gaussian(0.3), PixelGaussian(), OptimalGaussian()],
    ids=lambda x: type(x).__name__,
)
@pytest.mark.parametrize("output", [-3.0, 0.0, 2.0])
def test_continuous_draws_have_the_density(likelihood, output):
    """Mean and mean square of draws, against integrals of the density."""
    raw = torch.full((1, likelihood.channels(1), 1, 1), output)
    inside = isinstance(likelihood, ContinuousBernoulli)
    grid = torch.linspace(0, 1, 10_001) if inside else torch.linspace(output - 30, output + 30, 10_001)
    density = likelihood.eval().log_prob(raw, one_pixel(grid)).exp().detach()
    found = draws(likelihood, raw).flatten().detach()
    for power in (1, 2):
        expected = torch.trapezoid(density * grid**power, grid)
        assert float(found.pow(power).mean()) == pytest.approx(
            float(expected), abs=4 * float(found.pow(power).std()) / 141
        )
