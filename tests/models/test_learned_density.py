"""Densities of codes that are learned: a flow that inverts and is normalized, a second VAE; both draw what they saw."""

import math

import pytest
import torch

from lightning_gen.models.learned_density import CouplingFlow, SecondStageVAE


def shaken(flow):
    torch.manual_seed(0)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return flow


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_flow_inverts(dim):
    flow, noise = shaken(CouplingFlow(dim)).double(), torch.randn(7, dim).double()
    codes = flow.standardized(noise)
    torch.testing.assert_close(flow.normalize(codes)[0], noise)


def test_its_log_determinant_is_that_of_its_jacobian():
    flow = shaken(CouplingFlow(4)).double()
    codes = torch.randn(3, 4).double()
    log_det = flow.normalize(codes)[1]
    for row, value in zip(codes, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow.normalize(x.unsqueeze(0))[0][0], row)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, value)


def test_its_density_integrates_to_one():
    flow = CouplingFlow(2, couplings=4).double()
    torch.manual_seed(0)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    flow.mean.copy_(torch.tensor([1.0, -2.0]))
    flow.std.copy_(torch.tensor([0.5, 2.0]))
    axis = torch.linspace(-9, 9, 200, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis) * flow.std + flow.mean
    total = flow.log_prob(grid).detach().exp().sum() * (axis[1] - axis[0]) ** 2 * flow.std.prod()
    assert float(total) == pytest.approx(1, abs=1e-3)


def ring(count):
    """Radius 2 +- 0.1 around (5, 0), in three dimensions of which the last is constant: no Gaussian has its hole."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    radius = 2 + 0.1 * torch.randn(count, generator=generator)
    return torch.stack([5 + radius * angle.cos(), radius * angle.sin(), torch.full((count,), 3.0)], dim=1)


FLOW = {"couplings": 4, "width": 32, "steps": 500, "batch_size": 128, "lr": 1e-2}
VAE = {"widths": [64, 64], "steps": 700, "batch_size": 128, "lr": 3e-3}


@pytest.mark.parametrize(("kind", "options"), [(CouplingFlow, FLOW), (SecondStageVAE, VAE)])
def test_they_draw_what_they_were_fitted_to(kind, options):
    torch.manual_seed(0)
    density = kind(3, **options)
    density.fit(ring(5000), seed=1)
    drawn = density(torch.randn(5000, density.noise_dim), torch.rand(5000))
    centred = drawn[:, :2] - torch.tensor([5.0, 0.0])
    hole = (centred.norm(dim=1) < 1).float().mean()  # of the Gaussian of the same moments: 0.22
    assert float(hole) < 0.1
    torch.testing.assert_close(drawn[:, 2], torch.full((5000,), 3.0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.mean(dim=0), torch.tensor([5.0, 0.0, 3.0]), atol=0.25, rtol=0)
    assert not any(p.requires_grad for p in density.parameters())


def test_a_fit_is_a_function_of_codes_and_seed():
    fits = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        density = SecondStageVAE(3, steps=3)
        density.fit(ring(100), seed)
        fits.append(density.decoder.out.weight)
        torch.rand(5)
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_the_second_stage_of_gaussian_codes_reaches_their_entropy():
    """With log p = -entropy at best; the bound of a fit to N(0, I) comes within 0.1 nats of it."""
    torch.manual_seed(0)
    density = SecondStageVAE(2, **VAE | {"widths": [16, 16], "steps": 500})
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(20_000, 2, generator=generator)
    density.fit(codes)
    loss = density.loss((codes - density.mean) / density.std, generator).mean()
    assert float(loss) == pytest.approx(math.log(2 * math.pi * math.e), abs=0.1)
