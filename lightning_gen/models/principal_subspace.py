"""The subspace of an image's first principal components, with Gaussian noise in the directions outside of it."""

import torch
from torch import Tensor

from lightning_gen.metrics.probing import PCA
from lightning_gen.networks.precision import FullPrecision
from lightning_gen.objectives.posteriors import LOG_2PI


class PrincipalSubspace(FullPrecision):
    """x = mean + V y + noise: V [D, Z] is orthonormal, the noise N(0, sigma^2) in each of the D - Z other directions.

    So a density of codes y gives a density of images x: log p(x) = log p(y) + log N(x - mean - V y; 0, sigma^2 I),
    the latter in the D - Z other directions. For one Gaussian with full covariance it is probabilistic PCA: by
    maximum likelihood V are the first Z principal components, and sigma^2 is the mean variance along the others
    (Tipping & Bishop 1999, eq. 7-8). In float64.

    Args:
        pixels: D.
        dims: Z; None: all D, and then codes are the pixels themselves.
    """

    mean: Tensor
    basis: Tensor
    log_variance: Tensor

    def __init__(self, pixels: int, dims: int | None) -> None:
        super().__init__()
        self.pixels, self.dims = pixels, dims
        if dims is not None:
            self.register_buffer("mean", torch.zeros(pixels).double())
            self.register_buffer("basis", torch.eye(pixels, dims).double())
            self.register_buffer("log_variance", torch.zeros(()).double())

    @property
    def size(self) -> int:
        """The number of numbers in a code."""
        return self.pixels if self.dims is None else self.dims

    def fit(self, images: Tensor, min_variance: float) -> None:
        """Find mean, V and sigma^2, which is at least `min_variance`, of float images [N, C, H, W]."""
        if self.dims is None:
            return
        found = PCA(images, self.dims)
        self.mean.copy_(found.mean)
        self.basis.copy_(found.components)
        self.log_variance.copy_(found.variances[self.dims :].mean().clamp_min(min_variance).log())

    def codes(self, images: Tensor) -> Tensor:
        """y [N, Z], float64, of images [N, C, H, W]."""
        pixels = images.flatten(1).double()
        return pixels if self.dims is None else (pixels - self.mean) @ self.basis

    def images(self, codes: Tensor) -> Tensor:
        """mean + V y [N, D], float64, of codes [N, Z]: the mean image of each code."""
        return codes.double() if self.dims is None else self.mean + codes.double() @ self.basis.T

    def noisy(self, codes: Tensor, normal: Tensor) -> Tensor:
        """Images [N, D] drawn for codes [N, Z], from N(0, I) noise [N, D]."""
        if self.dims is None:
            return codes.double()
        outside = normal.double() - normal.double() @ self.basis @ self.basis.T
        return self.images(codes) + (0.5 * self.log_variance).exp() * outside

    def log_prob_outside(self, images: Tensor, codes: Tensor) -> Tensor:
        """log N(x - mean - V y; 0, sigma^2 I) in the other directions [N], in nats, of images and their codes."""
        if self.dims is None:
            return codes.new_zeros(len(codes))
        outside = (images.flatten(1).double() - self.images(codes)).square().sum(dim=1)
        per_dimension = self.log_variance + LOG_2PI
        return -0.5 * (outside * (-self.log_variance).exp() + (self.pixels - self.dims) * per_dimension)


def default_dims(pixels: int, most: int = 50) -> int | None:
    """What `pca_dims=auto` is: `most`, or None, no reduction, for images of at most so many pixels."""
    return most if pixels > most else None
