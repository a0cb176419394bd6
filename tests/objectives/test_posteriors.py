"""Posteriors and flows: densities against torch's, divergences against Monte Carlo, determinants against autograd."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from lightning_gen.networks.made import MADE
from lightning_gen.objectives.flows import Autoregressive, AutoregressiveStack, invertible, planar, planar_inverse
from lightning_gen.objectives.posteriors import IAF, Diagonal, DiagonalGaussian, FullCovariance, FullGaussian, Planar

Z, F = 4, 6


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def of_torch(q):
    if isinstance(q, DiagonalGaussian):
        return MultivariateNormal(q.mean, torch.diag_embed(q.log_variance.exp()))
    return MultivariateNormal(q.mean, scale_tril=q.scale)


@pytest.mark.parametrize("head", [Diagonal, FullCovariance])
def test_gaussian_posteriors_are_those_of_torch(head):
    q = head(F, Z).double()(torch.randn(3, F, dtype=torch.float64))
    noise = torch.randn(7, 3, Z, dtype=torch.float64)
    latents, log_q = q.draw(noise)
    expected = of_torch(q).log_prob(latents)
    torch.testing.assert_close(log_q, expected)
    torch.testing.assert_close(q.log_prob(latents), expected)
    torch.testing.assert_close(q.covariance(), of_torch(q).covariance_matrix)
    standard = MultivariateNormal(torch.zeros(Z).double(), torch.eye(Z).double())
    torch.testing.assert_close(q.standard_normal_kl().sum(dim=1), kl_divergence(of_torch(q), standard))
    assert (q.standard_normal_kl() >= 0).all()


@pytest.mark.parametrize("head", [Diagonal, FullCovariance])
def test_closed_form_of_the_kl_is_that_of_monte_carlo(head):
    q = head(F, Z)(torch.randn(2, F))
    latents, log_q = q.draw(torch.randn(200_000, 2, Z))
    samples = log_q - Independent(Normal(torch.zeros(Z), torch.ones(Z)), 1).log_prob(latents)
    error = samples.std(dim=0) / samples.shape[0] ** 0.5
    assert ((samples.mean(dim=0) - q.standard_normal_kl().sum(dim=1)).abs() < 5 * error).all()


def test_detached_posteriors_score_alike_and_give_no_gradient():
    head = FullCovariance(F, Z)
    q = head(torch.randn(3, F))
    latents = torch.randn(2, 3, Z, requires_grad=True)
    torch.testing.assert_close(q.detached().log_prob(latents), q.log_prob(latents))
    q.detached().log_prob(latents).sum().backward()
    assert head.net.weight.grad is None
    assert latents.grad.abs().sum() > 0


@pytest.mark.parametrize("head", [IAF, Planar])
def test_flow_posteriors_have_a_normalized_density(head):
    """E_q[N(z) / q(z)] = 1 for any normalized N with thin tails."""
    q = head(F, 2)(0.5 * torch.randn(3, F))
    latents, log_q = q.draw(torch.randn(100_000, 3, 2))
    narrow = Independent(Normal(latents.mean(dim=0), 0.5 * latents.std(dim=0)), 1)
    ratios = (narrow.log_prob(latents) - log_q).exp()
    error = ratios.std(dim=0) / len(ratios) ** 0.5
    assert ((ratios.mean(dim=0) - 1).abs() < 5 * error + 1e-3).all()
    torch.testing.assert_close(q.mean, q.push(q.base.mean)[0])


def log_det(function, x):
    return torch.stack(
        [torch.linalg.slogdet(torch.autograd.functional.jacobian(function, one)).logabsdet for one in x]
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_autoregressive_flows_invert_and_know_their_determinant(steps):
    flow, context = AutoregressiveStack(Z, steps, [16, 16], context=F).double(), torch.randn(F).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(5, Z, dtype=torch.float64)
    y, found = flow(x, context)
    torch.testing.assert_close(flow.inverse(y, context), x)
    torch.testing.assert_close(found, log_det(lambda one: flow(one, context)[0], x))


def test_planar_flows_invert_and_know_their_determinant():
    direction, normal, offset = (torch.randn(5, n, dtype=torch.float64) * 3 for n in (Z, Z, 1))
    x = torch.randn(5, Z, dtype=torch.float64)
    assert ((invertible(direction, normal) * normal).sum(dim=1) > -1).all()
    y, found = planar(x, direction, normal, offset)
    torch.testing.assert_close(planar_inverse(y, direction, normal, offset), x, atol=1e-8, rtol=0)
    each = [
        log_det(lambda one, i=i: planar(one, direction[i], normal[i], offset[i])[0], x[i : i + 1])[0]
        for i in range(5)
    ]
    torch.testing.assert_close(found, torch.stack(each))


@pytest.mark.parametrize("product", [-5.0, -17.0, -50.0])
def test_planar_maps_that_nearly_fold_have_a_finite_determinant(product):
    """At w x + b = 0 the determinant is 1 + m(w u) = softplus(w u), also where w u rounds to -1 (in float32 from -17)."""
    normal, direction = torch.tensor([[1.0, 0.0]]), torch.tensor([[product, 0.3]], requires_grad=True)
    found = planar(torch.tensor([[0.0, 0.2]]), direction, normal, torch.zeros(1, 1))[1]
    assert found.item() == pytest.approx(math.log(math.log1p(math.exp(product))), rel=1e-6)
    found.sum().backward()
    slope = 1 / (1 + math.exp(-product)) / math.log1p(math.exp(product))  # of log softplus
    assert direction.grad.tolist()[0] == pytest.approx([slope, 0.0], rel=1e-5)


def test_planar_maps_of_small_normals_are_invertible():
    direction, normal = torch.randn(1000, Z) * 30, torch.randn(1000, Z) * 10 ** torch.linspace(-6, 0, 1000)[:, None]
    y, found = planar(torch.randn(1000, Z), direction, normal, torch.zeros(1000, 1))
    assert found.isfinite().all()
    assert y.isfinite().all()


def test_made_looks_back_only():
    net = MADE(Z, [16, 16], outputs=2, context=F)
    torch.nn.init.normal_(net.direct)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x, torch.ones(F)), torch.randn(Z))  # [2, Z, Z]
    assert jacobian.triu(0).abs().max() == 0
    assert (jacobian.abs().sum(dim=0).tril(-1) > 0).sum() == Z * (Z - 1) / 2
    by_context = torch.autograd.functional.jacobian(lambda h: net(torch.ones(Z), h), torch.randn(F))
    assert (by_context != 0).all()


@pytest.mark.parametrize("dim", [1, 3])
def test_every_dimension_of_an_inverse_autoregressive_flow_learns_from_the_image(dim):
    """Also the first, which depends on no other, and so the only one of a single latent."""
    head = IAF(F, dim, steps=1)
    latents, log_q = head(torch.randn(5, F)).draw(torch.randn(2, 5, dim))
    for loss in (latents[..., 0].sum(), log_q.sum()):
        (gradient,) = torch.autograd.grad(loss, head.flow.steps[0].net.direct, retain_graph=True)
        assert gradient.unflatten(0, (2, dim))[:, 0].abs().sum() > 0


def test_an_autoregressive_flow_of_nothing_is_the_identity():
    flow = Autoregressive(Z, [8])
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    x = torch.randn(3, Z)
    y, found = flow(x)
    assert torch.equal(y, x)
    assert torch.equal(found, torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_full_covariances_are_in_full_precision_under_autocast(dtype):
    q, noise = FullCovariance(F, 32)(3 * torch.randn(4, F)), torch.randn(2, 4, 32)
    expected = (*q.draw(noise), q.log_prob(2 * noise), q.covariance())
    with torch.autocast("cpu", dtype):
        found = (*q.draw(noise), q.log_prob(2 * noise), q.covariance())
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_full_covariance_draws_have_its_moments():
    scale = torch.tensor([[[1.0, 0.0], [-0.8, 0.5]]])
    q = FullGaussian(torch.tensor([[1.0, -2.0]]), scale)
    latents = q.draw(torch.randn(200_000, 1, 2))[0].squeeze(1)
    torch.testing.assert_close(latents.mean(dim=0), q.mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(latents.T.cov(), q.covariance()[0], atol=0.02, rtol=0)
