"""Sticking-the-landing against the gradient of the ELBO."""

import torch

from lightning_gen.objectives.bounds import ELBO
from lightning_gen.objectives.sticking_the_landing import StickingTheLanding
from tests.objectives.test_bounds import Linear, gradients


def test_its_expected_gradient_is_that_of_the_elbo():
    torch.manual_seed(0)
    model, x = Linear(), torch.randn(500, 1, dtype=torch.float64)
    elbo, path = gradients(model, ELBO(samples=4), x, 400), gradients(model, StickingTheLanding(samples=4), x, 400)
    error = (elbo.var(0) / 400 + path.var(0) / 400).sqrt()
    assert ((elbo.mean(0) - path.mean(0)).abs() < 4 * error).all()
    assert (error < 0.02 * elbo.mean(0).abs().max()).all()  # so that the line above means something


def test_its_value_is_the_elbo_of_a_sampled_kl():
    torch.manual_seed(0)
    t = Linear().terms(torch.randn(6, 3, dtype=torch.float64), k=4)
    expected = t.reconstruction + (t.log_q - t.log_prior).mean(dim=0)
    torch.testing.assert_close(StickingTheLanding(samples=4)(t), expected)


def test_at_the_exact_posterior_it_has_no_variance():
    """Each draw gives the encoder the gradient 0; that of the ELBO varies from draw to draw."""
    torch.manual_seed(0)
    model, x = Linear(), torch.randn(20, 1, dtype=torch.float64)
    with torch.no_grad():
        model.c.copy_(model.a / (model.a**2 + 1))
        model.log_v.copy_((1 / (model.a**2 + 1)).log())
    found = gradients(model, StickingTheLanding(), x, 10)
    torch.testing.assert_close(found[:, 1:], torch.zeros(10, 2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (gradients(model, ELBO(), x, 10)[:, 1:].std(dim=0) > 0.01).all()
