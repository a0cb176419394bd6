"""How a VAE's latents are used: KL per dimension, active units, the aggregated posterior against the prior."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_gen.objectives.divergences import full_gaussian_kl, gaussian_total_correlation
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution, FullGaussian

ACTIVE = 0.01  # variance of the posterior mean over images, above which a unit is active (Burda et al. 2016, sec. 5)


@torch.no_grad()
def posterior_statistics(posteriors: Iterable[Distribution], prior: Tensor | None = None) -> dict[str, float]:
    """Statistics of the posteriors of many images.

    Args:
        posteriors: of batches of images.
        prior: draws [N, Z] of a prior that is not N(0, I).

    Returns:
        ``active_units`` (variance of the posterior mean above 0.01), and where the posteriors are Gaussians
        ``kl_max`` and ``kl_min`` (KL of the most and the least used dimension, nats; N(0, I) only),
        ``total_correlation`` (of the Gaussian with the moments of the aggregated posterior, nats) and
        ``aggregate_kl`` (of that Gaussian from the one with the prior's moments, nats).
    """
    means, covariance, kl, known = [], torch.zeros(()), torch.zeros(()), True
    for q in posteriors:
        means.append(q.mean.double().cpu())
        if isinstance(q, DiagonalGaussian | FullGaussian):
            kl = kl + q.standard_normal_kl().double().sum(dim=0).cpu()
            covariance = covariance + q.covariance().double().sum(dim=0).cpu()
        else:
            known = False
    together = torch.cat(means)
    result = {"active_units": float((together.var(dim=0) > ACTIVE).sum())}
    if not known:
        return result
    count, dim = together.shape
    aggregate = covariance / count + torch.cov(together.T, correction=0).reshape(dim, dim)
    mean, unit = together.mean(dim=0), torch.eye(dim, dtype=torch.float64)
    other_mean, other = torch.zeros_like(mean), unit
    if prior is not None:
        draws = prior.double().cpu()
        other_mean, other = draws.mean(dim=0), torch.cov(draws.T).reshape(dim, dim) + 1e-9 * unit
    if prior is None:
        result |= {"kl_max": float(kl.max() / count), "kl_min": float(kl.min() / count)}
    return result | {
        "total_correlation": float(gaussian_total_correlation(aggregate)),
        "aggregate_kl": float(full_gaussian_kl(mean, aggregate, other_mean, other)),
    }
