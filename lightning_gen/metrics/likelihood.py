"""log p(x) of a latent variable model, by importance sampling from q(z|x) or by annealed importance sampling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

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


class Annealing:
    """The distributions p(z) p(x|z)^b between prior (b = 0) and posterior (b = 1), and moves that preserve them.

    b follows the sigmoidal schedule of Wu et al. 2017. A move is one proposal of Hamiltonian Monte Carlo with
    ``leapfrog`` steps. Their size adapts so that 65 % of the proposals of an image's chains are accepted.
    """

    def __init__(
        self,
        densities: Densities,
        chains: int,
        temperatures: int,
        device: torch.device,
        generator: torch.Generator,
        leapfrog: int = 10,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.densities, self.leapfrog = densities, leapfrog
        self.options: dict[str, Any] = {"device": device, "dtype": dtype, "generator": generator}
        images, dim = densities.shape
        self.shape = (chains, images, dim)
        rising = torch.sigmoid(torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64))
        schedule = ((rising - rising[0]) / (rising[-1] - rising[0])).tolist()
        self.steps = list(pairwise(schedule))  # the values of b before and after each step from 0 to 1
        self.size = torch.full((images, 1), 0.1, device=device, dtype=dtype)

    def prior(self) -> Tensor:
        """Latents from the prior, [chains, B, Z]."""
        normal = torch.randn(self.shape, **self.options)
        uniform = torch.rand(normal.shape[:2].numel(), **self.options)
        return self.densities.draw_prior(normal.flatten(0, 1), uniform).view(self.shape)

    def energy(self, z: Tensor, b: float) -> tuple[Tensor, Tensor, Tensor]:
        """-log p(z) p(x|z)^b, its gradient, and log p(x|z)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            likelihood = self.densities.log_likelihood(z)
            value = -self.densities.log_prior(z) - b * likelihood
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient, likelihood.detach()

    def move(self, z: Tensor, b: float) -> tuple[Tensor, Tensor]:
        """Moved latents [chains, B, Z] and log p(x|z) at them [chains, B]."""
        momentum = torch.randn(self.shape, **self.options)
        value, gradient, likelihood = self.energy(z, b)
        start = value + 0.5 * momentum.square().sum(dim=-1)
        moved = z
        for _ in range(self.leapfrog):
            momentum = momentum - 0.5 * self.size * gradient
            moved = moved + self.size * momentum
            new_value, gradient, new_likelihood = self.energy(moved, b)
            momentum = momentum - 0.5 * self.size * gradient
        rise = new_value + 0.5 * momentum.square().sum(dim=-1) - start
        accepted = torch.rand(self.shape[:2], **self.options).log() < -rise  # false where the rise is NaN
        rate = accepted.to(self.size.dtype).mean(dim=0)
        self.size = self.size * (0.1 * (rate - 0.65)).exp().unsqueeze(-1)
        moved = torch.where(accepted.unsqueeze(-1), moved.detach(), z)
        return moved, torch.where(accepted, new_likelihood, likelihood)


def annealed(
    densities: Densities,
    chains: int,
    temperatures: int,
    device: torch.device,
    generator: torch.Generator,
    **options: Any,
) -> Tensor:
    """log p(x) in nats, [B], by annealed importance sampling from prior to posterior (Neal 2001; Wu et al. 2017).

    In expectation the result is a lower bound on log p(x), independent of q(z|x). ``options``: see `Annealing`.
    """
    path = Annealing(densities, chains, temperatures, device, generator, **options)
    with torch.no_grad():
        z = path.prior()
        likelihood = densities.log_likelihood(z)
    total = _exact(torch.zeros(path.shape[:2], device=device))
    for before, b in path.steps:
        total += (b - before) * _exact(likelihood)
        z, likelihood = path.move(z, b)
    return total.logsumexp(dim=0) - math.log(chains)


def reverse_annealed(
    densities: Densities,
    posterior: Tensor,
    chains: int,
    temperatures: int,
    device: torch.device,
    generator: torch.Generator,
    **options: Any,
) -> Tensor:
    """log p(x) in nats, [B], by annealed importance sampling from posterior to prior: an upper bound in expectation.

    ``posterior`` [B, Z]: an exact draw from p(z|x) for each image, where all of its chains start. One is known for
    simulated images: the latent from which the image was drawn. The chains make the steps of `annealed` in reverse,
    so the mean of their inverse weights is an unbiased estimate of 1 / p(x). ``options``: see `Annealing`.
    Source: Grosse et al. 2015, sec. 3.1; Wu et al. 2017, sec. 4.2.
    """
    path = Annealing(densities, chains, temperatures, device, generator, **options)
    z = posterior.detach().expand(path.shape)
    total = _exact(torch.zeros(path.shape[:2], device=device))
    for before, b in reversed(path.steps):
        z, likelihood = path.move(z, b)
        total += (b - before) * _exact(likelihood)
    return math.log(chains) - (-total).logsumexp(dim=0)
