"""A lower bound on the mutual information of codes and images (Chen et al. 2016, eq. 4).

I(c; x) >= H(c) + E[log Q(c|x)], for codes c drawn from their prior, an image x generated from each, and any
distribution Q. It is exact for the true posterior, Q(c|x) = P(c|x). All results are per image [B], in nats.
"""

import math

from torch import Tensor

from lightning_gen.networks.precision import full_precision


def categorical_information(codes: Tensor, logits: Tensor) -> Tensor:
    """The bound for one uniform categorical code: one-hot [B, K] and Q's logits [B, K]."""
    return math.log(codes.shape[1]) + (codes * full_precision(logits).log_softmax(dim=1)).sum(dim=1)


def uniform_information(codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The bound for continuous codes from U[-1, 1) [B, D] and Gaussians Q with this mean and log variance [B, D]."""
    mean, log_variance = full_precision(mean), full_precision(log_variance)
    log_q = -0.5 * ((codes - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi))
    return codes.shape[1] * math.log(2) + log_q.sum(dim=1)
