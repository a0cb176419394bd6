"""Approximate posteriors q(z|x): heads that map an encoder's features [B, F] to a distribution of latents [B, Z].

A head is built with (num_features, latent_dim) and returns one of the distributions below. Each draws latents
[k, B, Z] from noise of that shape, together with their log-densities [k, B] in nats. Only the Gaussians have a
divergence from N(0, I) in closed form (`standard_normal_kl`) and a density at any point (`log_prob`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.networks.initialization import StackedLinear
from lightning_gen.networks.precision import full_precision, no_autocast
from lightning_gen.objectives.flows import AutoregressiveStack, planar
from lightning_gen.ranges import Count

LOG_VARIANCE_LIMIT = 20.0  # keeps exp finite; a posterior that trains well stays far from it
LOG_2PI = math.log(2 * math.pi)


def standard_normal_log_prob(values: Tensor) -> Tensor:
    """log N(v; 0, I) of values [..., Z]: [...], in nats."""
    return -0.5 * (values.square() + LOG_2PI).sum(dim=-1)


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, diag(exp(log_variance))), both [B, Z]."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [k, B, Z] and log q at them [k, B], from N(0, I) noise (reparameterized)."""
        return self.latents_of(noise), -0.5 * (noise.square() + self.log_variance + LOG_2PI).sum(dim=-1)

    def latents_of(self, noise: Tensor) -> Tensor:
        """The latents of `draw` alone, [k, B, Z]; [B, Z] from noise of that shape."""
        scale = (0.5 * self.log_variance).exp()
        if scale.ndim < noise.ndim and len(noise) == 1:  # without sums over one latent in the backward pass
            return (self.mean + scale * noise.squeeze(0)).unsqueeze(0)
        return self.mean + scale * noise

    def noise_of(self, latents: Tensor) -> Tensor:
        """The noise [..., B, Z] from which `draw` makes these latents [..., B, Z]."""
        return (latents - self.mean) * (-0.5 * self.log_variance).exp()

    def log_prob(self, latents: Tensor) -> Tensor:
        """Latents [..., B, Z] to log q [..., B]."""
        return self.log_prob_each(latents).sum(dim=-1)

    def log_prob_of_all(self, points: Tensor) -> Tensor:
        """log q of points [N, Z] under each of the Gaussians: [N, B]."""
        return self.log_prob(points.unsqueeze(1))

    def log_prob_each(self, latents: Tensor) -> Tensor:
        """Latents [..., B, Z] to the log-density of each dimension, [..., B, Z]."""
        return -0.5 * ((latents - self.mean).square() * (-self.log_variance).exp() + self.log_variance + LOG_2PI)

    def standard_normal_kl(self) -> Tensor:
        """KL(q || N(0, I)) of each dimension, [B, Z] (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance)

    def covariance(self) -> Tensor:
        """[B, Z, Z]."""
        return torch.diag_embed(self.log_variance.exp())

    def detached(self) -> "DiagonalGaussian":
        return DiagonalGaussian(self.mean.detach(), self.log_variance.detach())


@dataclass(frozen=True)
class FullGaussian:
    """N(mean, L L^T), mean [B, Z], L [B, Z, Z] lower triangular with a positive diagonal."""

    mean: Tensor
    scale: Tensor

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [k, B, Z] and log q at them [k, B], from N(0, I) noise (reparameterized)."""
        log_prob = -0.5 * (noise.square() + LOG_2PI).sum(dim=-1) - self._log_diagonal().sum(dim=-1)
        return self.latents_of(noise), log_prob

    def latents_of(self, noise: Tensor) -> Tensor:
        """The latents of `draw` alone, [k, B, Z]."""
        with no_autocast(noise):
            return self.mean + torch.einsum("bij,kbj->kbi", self.scale, noise)

    def log_prob(self, latents: Tensor) -> Tensor:
        """Latents [..., B, Z] to log q [..., B]."""
        away = (latents - self.mean).unsqueeze(-1)
        with no_autocast(away):
            noise = torch.linalg.solve_triangular(self.scale.expand(*away.shape[:-2], -1, -1), away, upper=False)
        return -0.5 * (noise.squeeze(-1).square() + LOG_2PI).sum(dim=-1) - self._log_diagonal().sum(dim=-1)

    def log_prob_of_all(self, points: Tensor) -> Tensor:
        """log q of points [N, Z] under each of the Gaussians: [N, B]; `scale` may be [1, Z, Z], shared by all."""
        away = (points - self.mean.unsqueeze(1)).mT  # [B, Z, N]: each factor solves for all points at once
        with no_autocast(away):
            noise = torch.linalg.solve_triangular(self.scale, away, upper=False)
        log_det = self._log_diagonal().sum(dim=-1)
        return -0.5 * (noise.square() + LOG_2PI).sum(dim=1).T - log_det

    def _log_diagonal(self) -> Tensor:
        return self.scale.diagonal(dim1=-2, dim2=-1).log()

    def standard_normal_kl(self) -> Tensor:
        """[B, Z]: by the chain rule, dimension i given those before it; the sum is KL(q || N(0, I))."""
        second_moment = self.scale.square().sum(dim=-1) + self.mean.square()
        return 0.5 * (second_moment - 1.0) - self._log_diagonal()

    def covariance(self) -> Tensor:
        """[B, Z, Z]."""
        with no_autocast(self.scale):
            return self.scale @ self.scale.mT

    def detached(self) -> "FullGaussian":
        return FullGaussian(self.mean.detach(), self.scale.detach())


@dataclass(frozen=True)
class Flow:
    """A diagonal Gaussian transformed by `push`, an invertible map.

    `push` takes latents [..., B, Z] and returns latents of that shape and the log-determinants [..., B].
    """

    base: DiagonalGaussian
    push: Callable[[Tensor], tuple[Tensor, Tensor]]

    @property
    def mean(self) -> Tensor:
        """The map of the base's mean, [B, Z]: not exactly the mean of q, but near it and just as good a code."""
        return self.push(self.base.mean)[0]

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [k, B, Z] and log q at them [k, B], from N(0, I) noise (reparameterized)."""
        start, log_prob = self.base.draw(noise)
        latents, log_det = self.push(start)
        return latents, log_prob - log_det


Gaussian = DiagonalGaussian | FullGaussian
Distribution = DiagonalGaussian | FullGaussian | Flow


class Diagonal(StackedLinear):
    """Head of a Gaussian with diagonal covariance: means and log variances, linear in the features."""

    def __init__(self, num_features: int, latent_dim: int) -> None:
        super().__init__(num_features, latent_dim, count=2)

    def forward(self, features: Tensor) -> DiagonalGaussian:  # type: ignore[override]
        mean, log_variance = full_precision(super().forward(features)).chunk(2, dim=-1)
        # Like clamp, whose backward pass has six operations instead of one
        return DiagonalGaussian(mean, F.hardtanh(log_variance, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT))


class FullCovariance(nn.Module):
    """Head of a Gaussian with full covariance L L^T: gives the entries of L, with softplus on its diagonal."""

    def __init__(self, num_features: int, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.rows, self.columns = torch.tril_indices(latent_dim, latent_dim).tolist()
        self.net = nn.Linear(num_features, latent_dim + len(self.rows))

    def forward(self, features: Tensor) -> FullGaussian:
        values = full_precision(self.net(features))
        mean, entries = values[:, : self.latent_dim], values[:, self.latent_dim :]
        lower = entries.new_zeros(values.shape[0], self.latent_dim, self.latent_dim)
        lower[:, self.rows, self.columns] = entries
        diagonal = F.softplus(lower.diagonal(dim1=-2, dim2=-1)) + 1e-4
        return FullGaussian(mean, lower.tril(-1) + torch.diag_embed(diagonal))


class IAF(nn.Module):
    """Inverse autoregressive flow: `steps` maps of a diagonal Gaussian, conditioned on the features.

    `direct`: the features act on the map of every dimension; without it, not on that of the first dimension of each
    map. Source: Kingma et al. 2016.
    """

    def __init__(
        self,
        num_features: int,
        latent_dim: int,
        steps: Count = 2,
        widths: Sequence[Count] = (256,),
        direct: bool = True,
    ) -> None:
        super().__init__()
        self.base = Diagonal(num_features, latent_dim)
        self.flow = AutoregressiveStack(latent_dim, steps, widths, num_features, direct)

    def forward(self, features: Tensor) -> Flow:
        return Flow(self.base(features), lambda start: self.flow(start, features))


class Planar(nn.Module):
    """Planar flow: `steps` planar maps of a diagonal Gaussian, with parameters linear in the features.

    Source: Rezende & Mohamed 2015.
    """

    def __init__(self, num_features: int, latent_dim: int, steps: Count = 8) -> None:
        super().__init__()
        self.latent_dim, self.steps = latent_dim, steps
        self.base = Diagonal(num_features, latent_dim)
        self.net = nn.Linear(num_features, steps * (2 * latent_dim + 1))

    def maps(self, features: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Direction [B, Z], normal [B, Z] and offset [B, 1] of each map."""
        numbers = full_precision(self.net(features)).chunk(self.steps, dim=-1)
        sizes = [self.latent_dim, self.latent_dim, 1]
        return [tuple(one.split(sizes, dim=-1)) for one in numbers]

    def forward(self, features: Tensor) -> Flow:
        maps = self.maps(features)

        def push(start: Tensor) -> tuple[Tensor, Tensor]:
            log_det = start.new_zeros(start.shape[:-1])
            for one in maps:
                start, change = planar(start, *one)
                log_det = log_det + change
            return start, log_det

        return Flow(self.base(features), push)
