"""The objectives: each against its formula; the bounds against each other; DReG's gradient against IWAE's."""

import math

import pytest
import torch
from torch import nn

from lightning_gen.objectives.bounds import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    BetaTC,
    Capacity,
    DReG,
    FreeBits,
    InfoVAE,
    Terms,
    importance_bound,
)
from lightning_gen.objectives.divergences import mmd
from lightning_gen.objectives.posteriors import DiagonalGaussian


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance)).sum(dim=-1)


class Linear(nn.Module):
    """x | z ~ N(a z, 1), z ~ N(0, 1), q(z|x) = N(c x, v): everything in closed form, in one dimension."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.c = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.log_v = nn.Parameter(torch.tensor(-0.5, dtype=torch.float64))

    def terms(self, x, k, stops_q=False, **more):
        q = DiagonalGaussian(self.c * x, self.log_v.expand(x.shape))
        latents, log_q = q.draw(torch.randn(k, *x.shape, dtype=torch.float64))
        log_q = q.detached().log_prob(latents) if stops_q else log_q
        return Terms(
            log_normal(x, self.a * latents, 1.0),
            q.standard_normal_kl(),
            latents,
            q,
            log_normal(latents, 0.0, 1.0),
            log_q,
            **more,
        )

    def exact(self, x):
        return log_normal(x, 0.0, float(self.a**2 + 1))


def terms(**more):
    return Linear().terms(torch.randn(6, 3, dtype=torch.float64), k=4, **more)


def test_beta_one_is_the_elbo():
    t = terms()
    torch.testing.assert_close(ELBO()(t), t.kl.sum(1) - t.log_likelihood.mean(0))
    torch.testing.assert_close(ELBO(beta=4.0)(t) - ELBO()(t), 3 * t.kl.sum(1))


def test_capacity_is_the_distance_of_the_mean_kl():
    t = terms()
    expected = t.reconstruction + 7 * (t.kl.sum(1).mean() - 10.0).abs()
    torch.testing.assert_close(Capacity(capacity=10.0, gamma=7.0)(t), expected)


def test_free_bits_leave_each_dimension_its_own():
    t = terms()
    each = t.kl.mean(0)
    middle = each.detach().sort().values[:2].mean().item()
    expected = t.reconstruction + torch.maximum(each, torch.tensor(middle)).sum()
    torch.testing.assert_close(FreeBits(nats=middle)(t), expected)
    torch.testing.assert_close(FreeBits(nats=0.0)(t).mean(), ELBO()(t).mean())
    sampled = Terms(t.log_likelihood, t.kl.sum(1, keepdim=True), t.latents, t.posterior)
    torch.testing.assert_close(FreeBits(nats=100.0)(sampled), t.reconstruction + 300.0)


def test_beta_tc_with_unit_weights_is_the_elbo_of_sampled_kl():
    t = terms(size=6)
    found = BetaTC(alpha=1.0, beta=1.0, gamma=1.0)(t)
    torch.testing.assert_close(found, t.reconstruction + (t.log_q - t.log_prior)[0].mean())
    assert not torch.allclose(BetaTC(beta=6.0)(t), found)


def test_info_vae_adds_the_discrepancy():
    draws = torch.randn(6, 3, dtype=torch.float64)
    t = terms(prior_draws=draws)
    expected = t.reconstruction + 0.4 * t.kl.sum(1) + (0.6 + 50 - 1) * mmd(t.latents[0], draws)
    torch.testing.assert_close(InfoVAE(alpha=0.6, weight=50.0)(t), expected)


def test_importance_bounds_by_their_definitions():
    t = terms()
    w = t.log_weights
    torch.testing.assert_close(w, t.log_likelihood + t.log_prior - t.log_q)
    torch.testing.assert_close(IWAE(samples=4)(t), -w.exp().mean(0).log())
    torch.testing.assert_close(MIWAE(outer=1, inner=4)(t), IWAE(samples=4)(t))
    torch.testing.assert_close(MIWAE(outer=4, inner=1)(t), -w.mean(0))
    assert MIWAE(outer=4, inner=3).samples == 12
    mixed = -0.25 * w.mean(0) + 0.75 * IWAE(samples=4)(t)
    torch.testing.assert_close(CIWAE(samples=4, share=0.25)(t), mixed)
    torch.testing.assert_close(DReG(samples=4)(t), IWAE(samples=4)(t))


def test_the_bound_grows_with_k_to_the_exact_likelihood():
    model, x = Linear(), torch.randn(50, 1, dtype=torch.float64)
    with torch.no_grad():
        weights = model.terms(x, k=4000).log_weights
        exact = model.exact(x).mean().item()
        bounds = [importance_bound(weights.view(k, -1, 50)).mean().item() for k in (1, 2, 5, 50, 4000)]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.1
    assert bounds[-1] == pytest.approx(exact, abs=0.01)


def gradients(model, objective, x, repeats):
    """Of a, c and log v, [repeats, 3]: as many batches as rows."""
    found = []
    for _ in range(repeats):
        loss = objective(model.terms(x, objective.samples, objective.stops_q)).mean()
        found.append(torch.stack(torch.autograd.grad(loss, [model.a, model.c, model.log_v])))
    return torch.stack(found)


@pytest.mark.parametrize("k", [1, 5])
def test_dreg_has_the_mean_of_iwae_s_gradient_and_less_variance(k):
    model, x = Linear(), torch.randn(500, 1, dtype=torch.float64)
    iwae, dreg = gradients(model, IWAE(k), x, 400), gradients(model, DReG(k), x, 400)
    error = (iwae.var(0) / 400 + dreg.var(0) / 400).sqrt()
    assert ((iwae.mean(0) - dreg.mean(0)).abs() < 4 * error).all()
    assert (error < 0.02 * iwae.mean(0).abs().max()).all()  # so that the line above means something
    assert (dreg.var(0)[1:] < iwae.var(0)[1:]).all()


def test_dreg_by_hand():
    """The encoder's gradient is sum w_i^2 (d log w_i / dz_i) (dz_i / dphi), the decoder's sum w_i d log w_i / d theta."""
    model, x, k = Linear(), torch.tensor([[0.7]], dtype=torch.float64), 3
    t = model.terms(x, k, stops_q=True)
    z = t.latents.detach().squeeze()
    a, v = model.a.item(), model.log_v.exp().item()
    noise = (z - model.c.item() * 0.7) / v**0.5
    w = t.log_weights.detach().squeeze().softmax(0)
    slope = a * (0.7 - a * z) - z + noise / v**0.5  # d log w / dz
    expected_c = -(w**2 * slope * 0.7).sum()
    expected_v = -(w**2 * slope * 0.5 * v**0.5 * noise).sum()
    expected_a = -(w * (0.7 - a * z) * z).sum()
    found = torch.autograd.grad(DReG(k)(t).sum(), [model.a, model.c, model.log_v])
    torch.testing.assert_close(torch.stack(found), torch.stack([expected_a, expected_c, expected_v]))


def test_an_exact_posterior_gives_dreg_no_gradient():
    """With q the posterior all weights are equal, and the encoder has nothing to learn, draw by draw."""
    model = Linear()
    with torch.no_grad():
        model.c.copy_(model.a / (model.a**2 + 1))
        model.log_v.copy_((1 / (model.a**2 + 1)).log())
    found = gradients(model, DReG(5), torch.randn(20, 1, dtype=torch.float64), 10)
    torch.testing.assert_close(found[:, 1:], torch.zeros(10, 2, dtype=torch.float64), atol=1e-12, rtol=0)
