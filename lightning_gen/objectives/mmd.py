"""The maximum mean discrepancy of codes from the prior (Gretton et al. 2012; Tolstikhin et al. 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gen.objectives.parallel import of_all_processes
from lightning_gen.objectives.precision import full_precision

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # those of the authors' code


def inverse_multiquadratic(x: Tensor, y: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """k(x, y) = sum_s C_s / (C_s + ||x - y||^2) with C_s = 2 Z s, for x [N, Z] and y [M, Z], [N, M].

    2 Z is the mean squared distance of two draws from N(0, I). Source: Tolstikhin et al. 2018, sec. 4.
    """
    squares = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(dim=2)  # exact, and with a gradient at 0
    constants = [2 * x.shape[1] * scale for scale in scales]
    return torch.stack([constant / (constant + squares) for constant in constants]).sum(dim=0)


def mmd(x: Tensor, y: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """MMD^2 of the distributions that x [N, Z] and y [M, Z] are drawn from, unbiased, a scalar.

    Without the distance of a point to itself (Gretton et al. 2012, eq. 3), so it may fall below 0.
    """
    x, y = full_precision(x), full_precision(y)
    own = (inverse_multiquadratic(side, side, scales) for side in (x, y))
    within = sum((kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in own)
    return within - 2 * inverse_multiquadratic(x, y, scales).mean()


class MMD:
    """`weight` times MMD^2 between the codes of the whole batch, over all processes, and as many prior draws.

    `weight`: lambda of Tolstikhin et al. 2018, eq. 4, in units of squared error per image.
    """

    def __init__(self, latent_dim: int, weight: float, scales: Sequence[float] = SCALES) -> None:
        self.weight, self.scales = weight, tuple(scales)

    def penalty(self, codes: Tensor, prior: Tensor) -> Tensor:
        """MMD^2 of codes [B, Z] and prior draws [B, Z], unweighted, a scalar."""
        return mmd(of_all_processes(codes), of_all_processes(prior), self.scales)
