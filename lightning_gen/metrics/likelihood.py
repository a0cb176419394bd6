"""log p(x) of a latent variable model, by importance sampling from q(z|x) or by annealed importance sampling."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from lightning_gen.objectives.densities import Densities

MOST_VALUES = {"cpu": 2**18, "cuda": 2**24}  # of decoded images at once, all draws together


def _exact(values: Tensor) -> Tensor:
    """In float64 where the device has it, else in float32."""
    return values.float() if values.device.type == "mps" else values.double()


@torch.no_grad()
def importance_sampled(
    densities: Densities, k: int, device: torch.device, generator: torch.Generator, dtype: torch.dtype | None = None
) -> Tensor:
    """log 1/k sum_i p(x, z_i) / q(z_i|x) with z_i from q, [B]: a lower bound of log p(x) that grows with k.

    Burda et al. 2016, eq. 8. ``generator``: of ``device``.
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
    """log p(x) [B] by annealed importance sampling from the prior to the posterior (Neal 2001; Wu et al. 2017).

    The distributions between are p(z) p(x|z)^b, b on Wu et al.'s sigmoidal schedule; each transition is one proposal
    of Hamiltonian Monte Carlo with ``leapfrog`` steps, whose size follows the acceptance over an image's chains
    towards 65 %. It gives a lower bound too, in expectation, but one that does not lean on q(z|x).
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
        accepted = draw.log() < -rise  # not, where the rise is NaN
        z = torch.where(accepted.unsqueeze(-1), moved.detach(), z)
        likelihood = torch.where(accepted, new_likelihood, likelihood)
        size = size * (0.1 * (accepted.to(size.dtype).mean(dim=0) - 0.65)).exp().unsqueeze(-1)
    return total.logsumexp(dim=0) - math.log(chains)
