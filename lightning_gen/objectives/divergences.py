"""Divergences between distributions, in nats."""

import torch
from torch import Tensor

from lightning_gen.objectives.posteriors import DiagonalGaussian


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)), summed over the latent dimensions.

    mean, log_variance: [B, Z]; returns [B], nats. Source: Kingma & Welling 2014, appendix B.
    """
    return DiagonalGaussian(mean, log_variance).standard_normal_kl().sum(dim=1)


def full_gaussian_kl(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> Tensor:
    """KL(N(mean, covariance) || N(other_mean, other_covariance)), means [Z], covariances [Z, Z]; a scalar, nats."""
    ours, theirs = torch.linalg.cholesky(covariance), torch.linalg.cholesky(other_covariance)
    spread = torch.linalg.solve_triangular(theirs, ours, upper=False).square().sum()
    away = torch.linalg.solve_triangular(theirs, (other_mean - mean).unsqueeze(1), upper=False).square().sum()
    log_dets = 2 * (theirs.diagonal().log().sum() - ours.diagonal().log().sum())
    return 0.5 * (spread + away - len(mean) + log_dets)


def gaussian_total_correlation(covariance: Tensor) -> Tensor:
    """KL(N(., covariance) || the product of its margins), covariance [Z, Z]; a scalar, nats (Watanabe 1960)."""
    return 0.5 * (covariance.diagonal().log().sum() - torch.linalg.slogdet(covariance).logabsdet)


def decomposed_kl(
    latents: Tensor, q: DiagonalGaussian, log_prior: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual information, total correlation and dimension-wise KL of a batch, each [B]; their sum is log q - log p.

    The densities of the aggregated posterior, q(z) and q(z_j), are those of `size` training images: each latent's own
    image weighs 1 / size and the others of the batch stand for the rest (Chen et al. 2018, eq. 2 and app. C.2, with
    equal weights). latents [B, Z], one of each posterior of q; log_prior [B].
    """
    pairs = q.log_prob_each(latents.unsqueeze(1))  # [B of latents, B of posteriors, Z]
    count = len(latents)
    weights = pairs.new_full((count, count), (1 - 1 / size) / (count - 1)).fill_diagonal_(1 / size).log()
    log_joint = (pairs.sum(dim=-1) + weights).logsumexp(dim=1)
    log_margins = (pairs + weights.unsqueeze(-1)).logsumexp(dim=1).sum(dim=-1)
    log_own = pairs.diagonal(dim1=0, dim2=1).sum(dim=0)
    return log_own - log_joint, log_joint - log_margins, log_margins - log_prior


MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel's width (Tolstikhin et al. 2018, their code)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """The squared maximum mean discrepancy of two samples [N, Z], unbiased, a scalar (Gretton et al. 2012, eq. 3).

    The kernel is a sum of inverse multiquadratics C / (C + |x - y|^2) with C = 2 Z s over `MMD_SCALES`, for latents
    of about unit variance.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(dim=-1)
        widths = (2 * a.shape[1] * scale for scale in MMD_SCALES)
        return sum((width / (width + distance) for width in widths), torch.zeros_like(distance))

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()
