"""Every objective against a closed form."""

import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, Normal, kl_divergence

from lightning_gen.objectives.adversarial import NonSaturating
from lightning_gen.objectives.divergences import gaussian_kl
from lightning_gen.objectives.likelihoods import Bernoulli, Gaussian


def test_gaussian_kl_is_the_closed_form():
    mean, log_variance = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    posterior = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), kl_divergence(posterior, prior))


def test_gaussian_kl_by_hand():
    """One dimension, mean 2, variance e: (4 + e - 1 - 1) / 2; nothing for the prior itself."""
    value = gaussian_kl(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    assert value.tolist() == pytest.approx([(4 + math.e - 2) / 2])


def test_bernoulli_log_prob_sums_over_pixels():
    raw, images = torch.randn(4, 1, 3, 3), torch.randint(2, (4, 1, 3, 3)).float()
    expected = TorchBernoulli(logits=raw).log_prob(images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(Bernoulli().log_prob(raw, images), expected)


def test_bernoulli_sums_to_one_over_all_images():
    raw = torch.randn(1, 1, 2, 2, dtype=torch.float64)
    every = torch.tensor([[(n >> i) & 1 for i in range(4)] for n in range(16)], dtype=torch.float64).view(16, 1, 2, 2)
    assert Bernoulli().log_prob(raw.expand(16, -1, -1, -1), every).exp().sum().item() == pytest.approx(1.0)


def test_bernoulli_binarizes_with_the_grey_value_as_probability():
    generator = torch.Generator().manual_seed(0)
    grey = torch.full((1000, 1, 8, 8), 0.3)
    binary = Bernoulli().prepare(grey, lambda shape: torch.rand(shape, generator=generator))
    assert set(binary.unique().tolist()) == {0.0, 1.0}
    assert binary.mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 64000))
    assert Bernoulli(binarize=False).prepare(grey, torch.rand) is grey


def test_gaussian_log_prob_sums_over_pixels():
    raw, images = torch.randn(4, 3, 2, 2), torch.rand(4, 3, 2, 2)
    expected = Normal(raw, 0.2).log_prob(images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(Gaussian(sigma=0.2, learned=False).log_prob(raw, images), expected)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0, 5.0])
def test_gaussian_starts_at_its_sigma(sigma):
    likelihood = Gaussian(sigma=sigma)
    assert likelihood.log_sigma.exp().item() == pytest.approx(sigma, rel=1e-5)
    assert likelihood.raw_sigma.requires_grad
    assert not Gaussian(sigma=sigma, learned=False).raw_sigma.requires_grad


def test_learned_sigma_settles_at_the_error():
    """The optimum of the likelihood in sigma is the root mean square error (Rybkin et al. 2021, eq. 6)."""
    error = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.15
    likelihood = Gaussian()
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        (-likelihood.log_prob(torch.zeros_like(error), error).mean()).backward()
        optimizer.step()
    assert likelihood.log_sigma.exp().item() == pytest.approx(error.square().mean().sqrt().item(), rel=1e-3)


def test_sigma_is_bounded_below():
    likelihood = Gaussian(min_sigma=0.01)
    with torch.no_grad():
        likelihood.raw_sigma.fill_(-1000.0)
    assert likelihood.log_sigma.exp().item() == pytest.approx(0.01)


def test_non_saturating_values():
    """log 2 a player at zero logits; against -log sigmoid elsewhere; finite for extreme logits."""
    loss, zero = NonSaturating(), torch.zeros(3)
    torch.testing.assert_close(loss.discriminator(zero, zero), torch.full((3,), 2 * math.log(2)))
    torch.testing.assert_close(loss.generator(zero), torch.full((3,), math.log(2)))
    real, fake = torch.randn(5), torch.randn(5)
    expected = -(real.sigmoid().log() + (1 - fake.sigmoid()).log())
    torch.testing.assert_close(loss.discriminator(real, fake), expected)
    torch.testing.assert_close(loss.generator(fake), -fake.sigmoid().log())
    assert loss.discriminator(torch.tensor([-1e4]), torch.tensor([1e4])).item() == pytest.approx(2e4)


def test_discriminator_optimum_gives_the_jensen_shannon_divergence():
    """At D* = p / (p + q), the value is -log 4 + 2 JSD(p || q) (Goodfellow et al. 2014, theorem 1)."""
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    middle = (p + q) / 2
    jsd = 0.5 * (p * (p / middle).log()).sum() + 0.5 * (q * (q / middle).log()).sum()
    logits = (p / q).log()
    loss = NonSaturating()
    value = -(p * loss.discriminator(logits, torch.full_like(logits, -1e9))).sum()
    value = value - (q * loss.discriminator(torch.full_like(logits, 1e9), logits)).sum()
    assert value.item() == pytest.approx(-math.log(4) + 2 * jsd.item())
