"""Densities of codes, fitted after training, from which models with an encoder are sampled."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from lightning_gen.networks.precision import FullPrecision

ONE_THREAD = 128  # dimensions up to which one thread is faster for the matrices of a mixture


def threads_for(dimensions: int) -> AbstractContextManager[object]:
    """Linear algebra on one thread if matrices of this size are small: threads would wait for each other longer."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1 if dimensions <= ONE_THREAD else None, user_api="blas")


class Density(FullPrecision, ABC):
    """Base class of the densities, which draw codes in place of a prior.

    `noise_dim`: how many standard normal numbers one code needs.
    """

    def __init__(self, noise_dim: int) -> None:
        super().__init__()
        self.noise_dim = noise_dim

    @abstractmethod
    def fit(self, codes: Tensor, seed: int = 0) -> None:
        """Fit to codes [N, Z]; deterministic for the same codes and seed."""

    @abstractmethod
    def forward(self, normal: Tensor, uniform: Tensor) -> Tensor:
        """Codes [N, Z] from N(0, I) noise [N, noise_dim] and U[0, 1) noise [N]."""


class GaussianMixture(Density):
    """A mixture of Gaussians with full covariances, one component by default (Ghosh et al. 2020, sec. 4)."""

    weights: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, dim: int, components: int = 1) -> None:
        super().__init__(dim)
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("scales", torch.eye(dim).repeat(components, 1, 1))  # square roots of the covariances

    def fit(self, codes: Tensor, seed: int = 0) -> None:
        """Fit to codes [N, Z] by maximum likelihood, in float64.

        One component has a closed form, in which the covariance may be singular. Several are fitted by expectation
        maximization (EM) that starts from k-means, with scikit-learn.
        """
        codes = codes.double().cpu()
        if len(self.weights) == 1:
            covariances = torch.cov(codes.T, correction=0).reshape(1, codes.shape[1], -1)
            weights, means = torch.ones(1), codes.mean(dim=0, keepdim=True)
        else:
            from sklearn.mixture import GaussianMixture as Mixture

            unit = float(codes.var(dim=0).mean())  # the smallest variance is relative to that of the codes,
            rounding = 1e-12 * (1 + float(codes.square().max()))  # which is 0 if all codes are equal
            smallest = max(1e-6 * unit, rounding)
            with threads_for(codes.shape[1]):
                fitted = Mixture(len(self.weights), reg_covar=smallest, random_state=seed).fit(codes.numpy())
            arrays = (fitted.weights_, fitted.means_, fitted.covariances_)
            weights, means, covariances = (torch.from_numpy(array) for array in arrays)
        values, vectors = torch.linalg.eigh(covariances)
        self.weights.copy_(weights)
        self.means.copy_(means)
        self.scales.copy_(vectors * values.clamp_min(0).sqrt().unsqueeze(1))

    def forward(self, normal: Tensor, uniform: Tensor) -> Tensor:
        """Codes [N, Z] from N(0, I) noise [N, Z] and U[0, 1) noise [N]."""
        below = self.weights.cumsum(0) < uniform.unsqueeze(1)  # not searchsorted, which ONNX does not have
        component = below.sum(dim=1).clamp_max(len(self.weights) - 1)
        return self.means[component] + torch.einsum("nij,nj->ni", self.scales[component], normal)
