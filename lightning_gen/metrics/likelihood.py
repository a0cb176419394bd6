"""log p(x) of a latent variable model, by importance sampling from q(z|x) or by annealed importance sampling."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from lightning_gen.objectives.densities import Densities

MOST_VALUES = {"cpu": 2**18, "cuda": 2**24}  # pixel values decoded at once, for all draws together


def _exact(values: Tensor) -> Tensor:
    """Convert to float64, or to float32 on MPS, which has no float64."""
    return values.float() if values.device.type == "mps" else values.double()


@torch.no_grad()
def importance_sampled(
    densities: Densities, k: int, device: torch.device, generator: torch.Generator, dtype: torch.dtype | None = None
) -> Tensor:
    """log 1/k sum_i p(x, z_i) / q(z_i|x) with z_i drawn from q, nats, [B] (Burda et al. 2016, eq. 8).

    In expectation it is a lower bound on log p(x) that grows with k. ``generator`` is on ``device``.
    """
    images, dim = densities.shape
    most = MOST_VALUES.get(device.type, MOST_VALUES["cpu"])
    step = max(most // (images * max(densities.values, dim)), 1)
    total = _exact(torch.full((images,), -math.inf, device=device))
    for start in range(0, k, step):
        noise = torch.randn(min(step, k - start), images, dim, device=device, dtype=dtype, generator=generator)
        latents, log_q = densities.draw(noise)
        weights = _exact(densities.log_joint(latents)) - _exact(log_q)
        total = torch.logaddexp(total, weights.logsumexp(dim=0))
    return total - math.log(k)


def annealed(
    densities: Densities,
    chains: int,
    temperatures: int,
    device: torch.device,
    generator: torch.Generator,
    leapfrog: int = 10,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """log p(x) in nats, [B], by annealed importance sampling from prior to posterior (Neal 2001; Wu et al. 2017).

    The intermediate distributions are p(z) p(x|z)^b, with b on the sigmoidal schedule of Wu et al. Each transition is
    one proposal of Hamiltonian Monte Carlo with ``leapfrog`` steps. Their size adapts so that 65 % of the proposals
    of an image's chains are accepted. In expectation the result is a lower bound on log p(x), independent of q(z|x).
    """
    images, dim = densities.shape

    def normal() -> Tensor:
        return torch.randn(chains, images, dim, device=device, dtype=dtype, generator=generator)

    def energy(z: Tensor, b: float) -> tuple[Tensor, Tensor, Tensor]:
        """-log p(z) p(x|z)^b, its gradient, and log p(x|z)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            likelihood = densities.log_likelihood(z)
            value = -densities.log_prior(z) - b * likelihood
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient, likelihood.detach()

    rising = torch.sigmoid(torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64))
    schedule = ((rising - rising[0]) / (rising[-1] - rising[0])).tolist()
    uniform = torch.rand(chains * images, device=device, dtype=dtype, generator=generator)
    with torch.no_grad():
        z = densities.draw_prior(normal().flatten(0, 1), uniform).view(chains, images, dim)
        likelihood = densities.log_likelihood(z)
    total = _exact(torch.zeros(chains, images, device=device))
    size = torch.full((images, 1), 0.1, device=device, dtype=dtype)
    for before, b in pairwise(schedule):
        total += (b - before) * _exact(likelihood)
        momentum = normal()
        value, gradient, likelihood = energy(z, b)
        start = value + 0.5 * momentum.square().sum(dim=-1)
        moved = z
        for _ in range(leapfrog):
            momentum = momentum - 0.5 * size * gradient
            moved = moved + size * momentum
            new_value, gradient, new_likelihood = energy(moved, b)
            momentum = momentum - 0.5 * size * gradient
        rise = new_value + 0.5 * momentum.square().sum(dim=-1) - start
        draw = torch.rand(chains, images, device=device, dtype=dtype, generator=generator)
        accepted = draw.log() < -rise  # false where the rise is NaN
        z = torch.where(accepted.unsqueeze(-1), moved.detach(), z)
        likelihood = torch.where(accepted, new_likelihood, likelihood)
        size = size * (0.1 * (accepted.to(size.dtype).mean(dim=0) - 0.65)).exp().unsqueeze(-1)
    return total.logsumexp(dim=0) - math.log(chains)
