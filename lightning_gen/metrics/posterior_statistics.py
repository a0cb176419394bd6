"""How a VAE uses its latents: active units, KL per dimension, and the aggregated posterior against the prior."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_gen.errors import NotFinite
from lightning_gen.objectives.divergences import full_gaussian_kl, gaussian_total_correlation
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution, FullGaussian

ACTIVE = 0.01  # a unit is active if the variance of its posterior mean is above this (Burda et al. 2016, sec. 5)


@torch.no_grad()
def posterior_statistics(posteriors: Iterable[Distribution], prior: Tensor | None = None) -> dict[str, float]:
    """Statistics of the posteriors of many images.

    Args:
        posteriors: one for each batch of images.
        prior: draws [N, Z] from the prior, if it is not N(0, I).

    Returns:
        ``active_units``: dimensions whose posterior mean has a variance above 0.01. If the posteriors are Gaussian,
        also ``kl_max`` and ``kl_min``, the KL of the most and the least used dimension, for the prior N(0, I); and,
        for the Gaussian with the moments of the aggregated posterior, its ``total_correlation`` and its KL from the
        Gaussian with the moments of the prior, ``aggregate_kl``. All in nats.

    Raises:
        NotFinite: a posterior is not finite.
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
    if not (covariance.isfinite().all() and together.isfinite().all()):
        raise NotFinite("the posterior of a held-out image")
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
