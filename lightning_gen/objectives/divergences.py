"""Divergences between distributions, in nats."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gen.distributed import of_all_processes
from lightning_gen.networks.precision import full_precision
from lightning_gen.objectives.posteriors import DiagonalGaussian
from lightning_gen.ranges import Count, NonNegative, Positive


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
    image has the weight 1 / size and the other images of the batch, with equal weights, represent the rest (Chen et
    al. 2018, eq. 2 and app. C.2). In a batch of one image the information and the total correlation are 0. `latents`
    [B, Z]: one draw from each posterior of q; `log_prior` [B].
    """
    pairs = q.log_prob_each(latents.unsqueeze(1))  # [B latents, B posteriors, Z]
    count = len(latents)
    own = 1 / size if count > 1 else 1.0
    weights = pairs.new_full((count, count), (1 - own) / max(count - 1, 1)).fill_diagonal_(own).log()
    log_joint = (pairs.sum(dim=-1) + weights).logsumexp(dim=1)
    log_margins = (pairs + weights.unsqueeze(-1)).logsumexp(dim=1).sum(dim=-1)
    log_own = pairs.diagonal(dim1=0, dim2=1).sum(dim=0)
    return log_own - log_joint, log_joint - log_margins, log_margins - log_prior


MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # as in the code of Tolstikhin et al.


def inverse_multiquadratic(x: Tensor, y: Tensor, scales: Sequence[float] = MMD_SCALES) -> Tensor:
    """k(x, y) = sum_s C_s / (C_s + ||x - y||^2) with C_s = 2 Z s, for x [N, Z] and y [M, Z], [N, M].

    2 Z is the mean squared distance between two draws from N(0, I). Source: Tolstikhin et al. 2018, sec. 4.
    """
    squares = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(dim=2)  # exact, and with a gradient at 0
    constants = [2 * x.shape[1] * scale for scale in scales]
    return torch.stack([constant / (constant + squares) for constant in constants]).sum(dim=0)


def mmd(x: Tensor, y: Tensor, scales: Sequence[float] = MMD_SCALES) -> Tensor:
    """The squared maximum mean discrepancy (MMD) between two distributions, from draws of each: a scalar.

    x: [N, Z], y: [M, Z]. This is the unbiased estimator, which leaves out the kernel of a draw with itself, so it can
    be negative; with a single draw it is undefined and the result is 0. It is not in nats: its scale is that of the
    kernel, a sum of inverse multiquadratics over `scales`. Source: Gretton et al. 2012, eq. 3.
    """
    x, y = full_precision(x), full_precision(y)
    if min(len(x), len(y)) < 2:
        return x.new_zeros(())
    own = (inverse_multiquadratic(side, side, scales) for side in (x, y))
    within = sum((kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in own)
    return within - 2 * inverse_multiquadratic(x, y, scales).mean()


class MMD:
    """The divergence of WAE-MMD: MMD^2 between the codes of a batch and the same number of draws from the prior.

    `weight`: lambda of Tolstikhin et al. 2018, eq. 4, in units of squared error per image. `scales`: those of the
    kernel, see `inverse_multiquadratic`.
    """

    def __init__(self, latent_dim: Count, weight: NonNegative, scales: Sequence[Positive] = MMD_SCALES) -> None:
        self.weight, self.scales = weight, tuple(scales)

    def penalty(self, codes: Tensor, prior: Tensor) -> Tensor:
        """MMD^2 of codes [B, Z] and prior draws [B, Z], gathered from all processes: a scalar, without the weight."""
        return mmd(of_all_processes(codes), of_all_processes(prior), self.scales)
