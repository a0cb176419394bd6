"""Likelihoods p(x|z): from the decoder's raw output [..., C', H, W] to nats per image [...].

The likelihoods of 256 grey values are in discrete_likelihoods.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.data.tables import TableSchema
from lightning_gen.distributed import mean_over_processes
from lightning_gen.errors import UserError
from lightning_gen.networks.precision import FullPrecision, full_precision
from lightning_gen.randomness import Noise

Uniform = Callable[[torch.Size], Tensor]  # draws from U[0, 1) in the given shape

BRIGHTNESS_LIMITS = (0.001, 0.999)  # for mean pixels, before the logit; as in the code of Burda et al.


def total(per_pixel: Tensor) -> Tensor:
    """The sum over an image's values: [..., C, H, W] to [...]."""
    return per_pixel.flatten(-3).sum(dim=-1)


class Likelihood(FullPrecision, ABC):
    """Base class of the likelihoods."""

    discrete: ClassVar[bool] = False  # a probability of 8-bit images, not a density
    binary: ClassVar[bool] = False  # a probability of binary images
    couples_images: ClassVar[bool] = False  # in training, an image's density depends on the rest of the batch

    def for_table(self, table: TableSchema | None) -> None:
        """Prepare to score rows of this table; None: images.

        Raises:
            UserError: this likelihood cannot.
        """
        if table is not None:
            raise UserError(
                f"model/likelihood: {type(self).__name__} is for images, and these are rows of a table: omit it, or "
                "set model/likelihood=table."
            )

    def channels(self, image_channels: int) -> int:
        """The number of channels C' that the decoder must have for images of C = `image_channels` channels."""
        return image_channels

    def prepare(self, images: Tensor, uniform: Uniform) -> Tensor:
        """The images that are scored, for grey images in [0, 1]: for example, binarized ones."""
        return images

    @abstractmethod
    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        """log p(x|z) [...] of images [..., C, H, W] in [0, 1], which broadcast with the raw output."""

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """The image to show [..., C, H, W], in [0, 1]."""

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        """Images [..., C, H, W] drawn from p(x|z); draws from a Gaussian may lie outside of [0, 1]."""
        raise UserError(f"{type(self).__name__} does not draw images: use evaluation.nll.method=ais.")

    def output_of(self, images: Tensor) -> Tensor:
        """The raw output whose mean is these images; a UserError where there is none."""
        raise UserError(
            f"model.output_bias=data_mean: a {type(self).__name__} likelihood cannot start from the mean training "
            "image. Set model.output_bias=default."
        )


class Bernoulli(Likelihood):
    """log p(x|z) of binary pixels, from logits (Kingma & Welling 2014, appendix C.1).

    A Bernoulli distribution is a likelihood of binary data only. So grey values are taken as probabilities, and
    binary images are drawn from them each time (dynamic binarization, Burda et al. 2016). With `binarize` false the
    grey values are scored themselves: this is a cross entropy, not a likelihood.
    """

    binary = True

    def __init__(self, binarize: bool = True) -> None:
        super().__init__()
        self.binarize = binarize

    def prepare(self, images: Tensor, uniform: Uniform) -> Tensor:
        if not self.binarize:
            return images
        # 1 where u < x, else 0: a comparison and the conversion of its result take three times as long on a CPU
        return (images - uniform(images.shape)).sign_().relu_().to(images.dtype)

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raw = full_precision(raw)
        return total(images * raw - F.softplus(raw))

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).sigmoid()

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        mean = self.mean(raw)
        return (noise.uniform(raw.shape, raw.device) < mean).to(mean.dtype)

    def output_of(self, images: Tensor) -> Tensor:
        return images.clamp(*BRIGHTNESS_LIMITS).logit()


class ContinuousBernoulli(Likelihood):
    """log p(x|z) of grey pixels in [0, 1], from logits l (Loaiza-Ganem & Cunningham 2019, eq. 5).

    p(x) = e^{l x} l / (e^l - 1), which is the paper's C(lambda) lambda^x (1 - lambda)^(1 - x) with
    lambda = sigmoid(l). Near l = 0 (lambda = 1/2) the quotient is 0 / 0, so a series replaces it.
    """

    SERIES = 0.1  # for smaller |l| the series is exact to the rounding of float32, and the quotients are not

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raw = full_precision(raw)
        near = raw.abs() < self.SERIES
        safe = torch.where(near, torch.ones_like(raw), raw)  # so that the branch not taken has finite gradients
        size = safe.abs()
        # log((e^l - 1) / l) = max(l, 0) + log(1 - e^-|l|) - log|l|
        direct = safe.clamp_min(0) + torch.log(-torch.expm1(-size)) - size.log()
        series = raw / 2 + raw.square() / 24 - raw.pow(4) / 2880
        return total(images * raw - torch.where(near, series, direct))

    def mean(self, raw: Tensor) -> Tensor:
        """E[x] = 1 / (1 - e^-l) - 1 / l, which is not lambda."""
        raw = full_precision(raw)
        near = raw.abs() < self.SERIES
        safe = torch.where(near, torch.ones_like(raw), raw)
        direct = -1 / torch.expm1(-safe) - 1 / safe
        return torch.where(near, 0.5 + raw / 12 - raw.pow(3) / 720, direct).clamp(0.0, 1.0)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        """The inverse of the distribution function, log(1 + u (e^l - 1)) / l, of -|l|; for l > 0 its mirror image."""
        raw = full_precision(raw)
        size = raw.abs().clamp_min(1e-3)  # with a smaller |l| the density is flat to three digits
        below = -torch.log1p(noise.uniform(raw.shape, raw.device) * torch.expm1(-size)) / size
        return torch.where(raw > 0, 1 - below, below)


def gaussian_log_prob(raw: Tensor, images: Tensor, log_sigma: Tensor) -> Tensor:
    """log N(images; raw, sigma^2) [...], summed over the values of an image; log_sigma broadcasts with the images."""
    error = (images - raw) * torch.exp(-log_sigma)
    return total(-0.5 * error.square() - log_sigma - 0.5 * math.log(2 * math.pi))


class Gaussian(Likelihood):
    """log N(x; mean, sigma^2 I) with one sigma for all pixels, fixed or learned (Rybkin et al. 2021, eq. 4).

    `mean` clamps to [0, 1], for display only.

    Args:
        sigma: the fixed or the initial standard deviation, in units of the pixel range [0, 1].
        learned: sigma is a parameter.
        min_sigma: a lower bound on sigma, so that a perfect reconstruction does not have an infinite density.
    """

    def __init__(self, sigma: float = 1.0, learned: bool = True, min_sigma: float = 0.0025) -> None:
        super().__init__()
        self.min_log_sigma = math.log(min_sigma)
        excess = math.log(sigma) - self.min_log_sigma  # softplus(parameter) = log(sigma / min_sigma)
        start = torch.tensor(math.log(math.expm1(excess)) if excess < 30 else excess)
        self.raw_sigma = nn.Parameter(start, requires_grad=learned)

    @property
    def log_sigma(self) -> Tensor:
        return self.min_log_sigma + F.softplus(self.raw_sigma)  # scalar

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        return gaussian_log_prob(full_precision(raw), images, self.log_sigma)

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).clamp(0.0, 1.0)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        return full_precision(raw) + self.log_sigma.exp() * noise.normal(raw.shape, raw.device)

    def output_of(self, images: Tensor) -> Tensor:
        return images


class OptimalGaussian(Likelihood):
    """log N(x; mean, sigma^2 I) with the optimal sigma in closed form: sigma^2 is the mean squared error.

    In training the error is that of the batch, with its gradient. This leaves the gradient of the ELBO as it is,
    because sigma is optimal there, but not that of an importance-weighted bound. Held-out images are scored with the
    running average over about `memory` training batches: with a sigma fitted to the images that it scores, the result
    would not be a bound. Source: Rybkin et al. 2021, eq. 6.
    """

    couples_images = True
    variance: Tensor
    batches: Tensor

    def __init__(self, memory: int = 100, min_sigma: float = 0.0025) -> None:
        super().__init__()
        self.memory, self.min_variance = memory, min_sigma**2
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("batches", torch.zeros(()))

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raw, variance = full_precision(raw), self.variance
        if self.training and torch.is_grad_enabled():
            error = mean_over_processes((images - raw).square().mean())
            variance = error.clamp_min(self.min_variance)
            self._remember(variance.detach())
        return gaussian_log_prob(raw, images, 0.5 * variance.log())

    @torch.no_grad()
    def _remember(self, variance: Tensor) -> None:
        self.batches.add_(1)  # a plain mean over the first batches, so that the initial value has no weight
        self.variance.lerp_(variance.to(self.variance.dtype), 1 / self.batches.clamp_max(self.memory))

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).clamp(0.0, 1.0)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        return full_precision(raw) + self.variance.sqrt() * noise.normal(raw.shape, raw.device)

    def output_of(self, images: Tensor) -> Tensor:
        return images


class PixelGaussian(Likelihood):
    """log N(x; mu(z), sigma(z)^2), a mean and a standard deviation for each value (Kingma & Welling 2014, app. C.2).

    The decoder's output has 2 C channels: the means, then log sigma. `min_sigma` is a lower bound on sigma, which
    starts near 1.
    """

    def __init__(self, min_sigma: float = 0.0025) -> None:
        super().__init__()
        self.min_log_sigma = math.log(min_sigma)

    def channels(self, image_channels: int) -> int:
        return 2 * image_channels

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The means and log sigma, both [..., C, H, W]."""
        mean, free = full_precision(raw).chunk(2, dim=-3)
        return mean, self.min_log_sigma + F.softplus(free - self.min_log_sigma)

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        mean, log_sigma = self._split(raw)
        return gaussian_log_prob(mean, images, log_sigma)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        mean, log_sigma = self._split(raw)
        return mean + log_sigma.exp() * noise.normal(mean.shape, raw.device)

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).chunk(2, dim=-3)[0].clamp(0.0, 1.0)
