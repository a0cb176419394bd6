"""Priors p(z) of a VAE's latents; log-densities are in nats.

A prior is built with (latent_dim, image_shape). `log_prob` gives the log-density of latents [..., Z]. Calling it
gives draws [N, Z], from N(0, I) noise [N, Z] and U[0, 1) noise [N]. `encode` maps images to their posteriors, for a
prior that is a mixture of posteriors.
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_gen.networks.graphs import exporting
from lightning_gen.networks.precision import FullPrecision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.flows import AutoregressiveStack
from lightning_gen.objectives.posteriors import (
    DiagonalGaussian,
    Distribution,
    FullGaussian,
    Gaussian,
    standard_normal_log_prob,
)
from lightning_gen.ranges import Count

Encode = Callable[[Tensor], Distribution]
Covariance = Literal["full", "tied", "diagonal", "spherical"]

MOST_NUMBERS = 2**24  # of the differences of latents and components at a time, to bound memory without gradients


class StandardNormal(nn.Module):
    """N(0, I), and the base class of the other priors."""

    standard: ClassVar[bool] = True  # N(0, I): the KL of a Gaussian posterior is known in closed form
    of_images: ClassVar[bool] = False  # has pseudo-inputs, which start from training images

    def __init__(self, latent_dim: int, image_shape: ImageShape) -> None:
        super().__init__()

    def log_prob(self, latents: Tensor, encode: Encode) -> Tensor:
        """log p(z) [...] of latents [..., Z]."""
        return standard_normal_log_prob(latents)

    def forward(self, normal: Tensor, uniform: Tensor, encode: Encode) -> Tensor:
        """Draws [N, Z]."""
        return normal


def mixture_log_prob(latents: Tensor, components: Gaussian, log_weights: Tensor) -> Tensor:
    """log sum_k w_k N(z; component k) of latents [..., Z], with components [K, Z] and log weights [K]: [...]."""
    rows = latents.flatten(0, -2)
    step = max(MOST_NUMBERS // components.mean.numel(), 1)
    parts = [
        (components.log_prob_of_all(part) + log_weights).logsumexp(dim=1)  # [n, K]
        for part in rows.split(step)
    ]
    return torch.cat(parts).view(latents.shape[:-1])


def draw_component(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Components [N], int64, drawn by these weights [K] from U[0, 1) numbers [N]."""
    edges = log_weights.exp().cumsum(0).to(uniform)
    below = edges < uniform.unsqueeze(1)  # not searchsorted, which ONNX does not have
    return below.sum(dim=1).clamp_max(len(log_weights) - 1)


class Mixture(FullPrecision, StandardNormal):
    """A mixture of `components` Gaussians with learned weights, means and covariances.

    The means start as draws from N(0, I) and the covariances as I, so that the components differ and the mixture is
    near N(0, I).

    Args:
        latent_dim: Z.
        image_shape: not used.
        components: K.
        covariance: `diagonal`; `full`, one matrix for each component; `tied`, one matrix for all; `spherical`, one
            variance for each component. A matrix is L L^T, with the log of its squared diagonal in `log_variances`.
    """

    standard = False

    def __init__(
        self, latent_dim: int, image_shape: ImageShape, components: Count = 20, covariance: Covariance = "diagonal"
    ) -> None:
        super().__init__(latent_dim, image_shape)
        self.covariance = covariance
        shape = (1 if covariance == "tied" else components, 1 if covariance == "spherical" else latent_dim)
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_variances = nn.Parameter(torch.zeros(shape))
        if covariance in ("full", "tied"):
            self.lower = nn.Parameter(torch.zeros(shape[0], latent_dim * (latent_dim - 1) // 2))

    @property
    def log_weights(self) -> Tensor:
        """[K]."""
        return self.logits.log_softmax(dim=0)

    def components(self) -> Gaussian:
        """The Gaussians, with means [K, Z]; those of `tied` share a `scale` [1, Z, Z]."""
        if self.covariance in ("full", "tied"):
            return FullGaussian(self.means, self._scale())
        return DiagonalGaussian(self.means, self.log_variances.expand_as(self.means))

    def _scale(self) -> Tensor:
        """L, [K, Z, Z], or [1, Z, Z] for `tied`."""
        size = self.means.shape[1]
        rows, columns = torch.tril_indices(size, size, -1, device=self.lower.device)
        below = self.lower.new_zeros(len(self.lower), size, size)
        below[:, rows, columns] = self.lower
        return below + torch.diag_embed((0.5 * self.log_variances).exp())

    @torch.no_grad()
    def set_to(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Set weights [K], means [K, Z] and covariances: [K, Z, Z], [Z, Z] (`tied`), [K, Z] or [K] (`spherical`)."""
        self.logits.copy_(weights.log())
        self.means.copy_(means)
        if self.covariance in ("full", "tied"):
            size = means.shape[1]
            scale = torch.linalg.cholesky(covariances.reshape(-1, size, size))
            rows, columns = torch.tril_indices(size, size, -1)
            self.lower.copy_(scale[:, rows, columns])
            self.log_variances.copy_(2 * scale.diagonal(dim1=1, dim2=2).log())
        else:
            self.log_variances.copy_(covariances.reshape(self.log_variances.shape).log())

    def log_prob(self, latents: Tensor, encode: Encode | None = None) -> Tensor:
        return mixture_log_prob(latents, self.components(), self.log_weights)

    def forward(self, normal: Tensor, uniform: Tensor, encode: Encode | None = None) -> Tensor:
        chosen, components = draw_component(self.log_weights, uniform), self.components()
        if isinstance(components, DiagonalGaussian):
            return components.mean[chosen] + (0.5 * components.log_variance[chosen]).exp() * normal
        scale, normal = components.scale, normal.to(self.means)
        if len(scale) == 1:
            return self.means[chosen] + normal @ scale[0].T
        if exporting():
            return self.means[chosen] + torch.einsum("nij,nj->ni", scale[chosen], normal)
        rows = max(MOST_NUMBERS // scale[0].numel(), 1)  # a matrix for each draw
        pairs = zip(chosen.split(rows), normal.split(rows), strict=True)
        return self.means[chosen] + torch.cat([torch.einsum("nij,nj->ni", scale[k], noise) for k, noise in pairs])


class Vamp(FullPrecision, StandardNormal):
    """VampPrior: the uniform mixture of the posteriors of `components` pseudo-inputs (Tomczak & Welling 2018, eq. 9).

    The pseudo-inputs [components, C, H, W] are parameters, clamped to [0, 1]; they start as training images.
    """

    standard = False
    of_images = True

    def __init__(self, latent_dim: int, image_shape: ImageShape, components: Count = 500) -> None:
        super().__init__(latent_dim, image_shape)
        self.pseudo_inputs = nn.Parameter(torch.rand(components, *image_shape))

    def start_from(self, images: Tensor) -> None:
        """Set the pseudo-inputs to images [components, C, H, W], clamped to [0.01, 0.99] so that they can move."""
        with torch.no_grad():
            self.pseudo_inputs.copy_(images.clamp(0.01, 0.99))

    def _components(self, encode: Encode) -> tuple[DiagonalGaussian, Tensor]:
        posteriors = encode(self.pseudo_inputs.clamp(0.0, 1.0))
        assert isinstance(posteriors, DiagonalGaussian)  # the VAE has checked
        count = len(self.pseudo_inputs)
        return posteriors, posteriors.mean.new_full((count,), -math.log(count))

    def log_prob(self, latents: Tensor, encode: Encode) -> Tensor:
        return mixture_log_prob(latents, *self._components(encode))

    def forward(self, normal: Tensor, uniform: Tensor, encode: Encode) -> Tensor:
        posteriors, log_weights = self._components(encode)
        chosen = draw_component(log_weights, uniform)
        return posteriors.mean[chosen] + (0.5 * posteriors.log_variance[chosen]).exp() * normal


class FlowPrior(StandardNormal):
    """A flow prior: `steps` autoregressive maps from the latents to N(0, I) (Chen et al. 2017, sec. 3.2).

    A density takes one pass through each map, a draw one pass for each dimension of each map.
    """

    standard = False

    def __init__(
        self, latent_dim: int, image_shape: ImageShape, steps: Count = 4, widths: Sequence[Count] = (128, 128)
    ) -> None:
        super().__init__(latent_dim, image_shape)
        self.flow = AutoregressiveStack(latent_dim, steps, widths)

    def log_prob(self, latents: Tensor, encode: Encode) -> Tensor:
        noise, log_det = self.flow(latents)
        return standard_normal_log_prob(noise) + log_det

    def forward(self, normal: Tensor, uniform: Tensor, encode: Encode) -> Tensor:
        return self.flow.inverse(normal)
