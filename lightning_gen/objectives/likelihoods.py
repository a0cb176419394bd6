"""Likelihoods p(x|z): from the decoder's raw output [..., C', H, W] to nats per image [...].

A likelihood says how many channels the decoder must give (`channels`), turns grey images into what it is a
density of (`prepare`), scores images [..., C, H, W] in [0, 1] that broadcast with the output (`log_prob`), gives
the image to show (`mean`) and, where the output is an image of its own, what output shows an image (`output_of`).
`discrete`: it gives the probability of 8-bit images, not a density of images; `binary`: of binary ones.
Those of 256 grey values lie in discrete_likelihoods.py.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.distributed import mean_over_processes
from lightning_gen.errors import UserError
from lightning_gen.networks.precision import FullPrecision, full_precision

Uniform = Callable[[torch.Size], Tensor]  # draws from U[0, 1) in the given shape

BRIGHTNESS_LIMITS = (0.001, 0.999)  # of mean pixels whose logits are taken, as in the code of Burda et al. 2016


def total(per_pixel: Tensor) -> Tensor:
    """The sum over an image's values: [..., C, H, W] to [...]."""
    return per_pixel.flatten(-3).sum(dim=-1)


class Likelihood(FullPrecision):
    """What most likelihoods have in common."""

    discrete: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    couples_images: ClassVar[bool] = False  # in training, an image's density depends on the rest of the batch

    def channels(self, image_channels: int) -> int:
        return image_channels

    def prepare(self, images: Tensor, uniform: Uniform) -> Tensor:
        return images

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raise NotImplementedError

    def mean(self, raw: Tensor) -> Tensor:
        raise NotImplementedError

    def output_of(self, images: Tensor) -> Tensor:
        raise UserError(f"model.output_bias=data_mean: model/likelihood={type(self).__name__} has no such output.")


class Bernoulli(Likelihood):
    """log p(x|z) of binary pixels, from logits (Kingma & Welling 2014, appendix C.1).

    A Bernoulli is a likelihood of binary data only: grey values are taken as probabilities and drawn anew
    each time (dynamic binarization, Burda et al. 2016), unless `binarize` is false, when the result is a
    cross entropy and no likelihood.
    """

    binary = True

    def __init__(self, binarize: bool = True) -> None:
        super().__init__()
        self.binarize = binarize

    def prepare(self, images: Tensor, uniform: Uniform) -> Tensor:
        return (uniform(images.shape) < images).to(images.dtype) if self.binarize else images

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raw = full_precision(raw)
        return total(images * raw - F.softplus(raw))

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).sigmoid()

    def output_of(self, images: Tensor) -> Tensor:
        return images.clamp(*BRIGHTNESS_LIMITS).logit()


class ContinuousBernoulli(Likelihood):
    """log p(x|z) of grey pixels in [0, 1], from logits l (Loaiza-Ganem & Cunningham 2019, eq. 5).

    p(x) = e^{l x} l / (e^l - 1), which is their C(lambda) lambda^x (1 - lambda)^(1 - x) with lambda = sigmoid(l).
    It is smooth at lambda = 1/2, l = 0, where a series takes over from the quotient.
    """

    SERIES = 0.1  # below, the series is exact to float32's rounding, and the quotients are not

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raw = full_precision(raw)
        near = raw.abs() < self.SERIES
        safe = torch.where(near, torch.ones_like(raw), raw)  # so that the other branch has no infinite gradient
        size = safe.abs()
        # log((e^l - 1) / l) = max(l, 0) + log(1 - e^-|l|) - log|l|
        direct = safe.clamp_min(0) + torch.log(-torch.expm1(-size)) - size.log()
        series = raw / 2 + raw.square() / 24 - raw.pow(4) / 2880
        return total(images * raw - torch.where(near, series, direct))

    def mean(self, raw: Tensor) -> Tensor:
        """E[x], which is not lambda: 1 / (1 - e^-l) - 1 / l."""
        raw = full_precision(raw)
        near = raw.abs() < self.SERIES
        safe = torch.where(near, torch.ones_like(raw), raw)
        direct = -1 / torch.expm1(-safe) - 1 / safe
        return torch.where(near, 0.5 + raw / 12 - raw.pow(3) / 720, direct).clamp(0.0, 1.0)


def gaussian_log_prob(raw: Tensor, images: Tensor, log_sigma: Tensor) -> Tensor:
    """log N(images; raw, sigma^2) [...], summed over an image's values; log_sigma broadcasts with the images."""
    error = (images - raw) * torch.exp(-log_sigma)
    return total(-0.5 * error.square() - log_sigma - 0.5 * math.log(2 * math.pi))


class Gaussian(Likelihood):
    """log N(x; mean, sigma^2 I) with one sigma for all pixels, fixed or learned (Rybkin et al. 2021, eq. 4).

    `sigma`: the fixed or the initial standard deviation, in units of the [0, 1] pixel range. `learned`: sigma
    is a parameter, bounded below by `min_sigma`, so that a perfect reconstruction cannot reach an infinite
    density. `mean` clamps to [0, 1] for display only.
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

    def output_of(self, images: Tensor) -> Tensor:
        return images


class OptimalGaussian(Likelihood):
    """log N(x; mean, sigma^2 I) with the best sigma in closed form: sigma^2 is the mean squared error (Rybkin et al.
    2021, eq. 6).

    In training it is the error of the batch, a function of the weights like any other, with a gradient: the ELBO's
    does not change through it, since it is the best sigma there, but that of an importance-weighted bound does. What
    is held out is scored with the running average of these, over about `memory` batches, since a sigma fitted to the
    images that it scores would bound nothing.
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
        self.batches += 1  # a plain mean at first, so that the first value leaves no trace
        self.variance.lerp_(variance.to(self.variance.dtype), 1 / self.batches.clamp_max(self.memory))

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).clamp(0.0, 1.0)

    def output_of(self, images: Tensor) -> Tensor:
        return images


class PixelGaussian(Likelihood):
    """log N(x; mu(z), sigma(z)^2), a mean and a standard deviation for each value (Kingma & Welling 2014, app. C.2).

    The decoder gives twice the channels: means, then log sigma, bounded below by `min_sigma`; sigma starts near 1.
    """

    def __init__(self, min_sigma: float = 0.0025) -> None:
        super().__init__()
        self.min_log_sigma = math.log(min_sigma)

    def channels(self, image_channels: int) -> int:
        return 2 * image_channels

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        mean, free = full_precision(raw).chunk(2, dim=-3)
        log_sigma = self.min_log_sigma + F.softplus(free - self.min_log_sigma)
        return gaussian_log_prob(mean, images, log_sigma)

    def mean(self, raw: Tensor) -> Tensor:
        return full_precision(raw).chunk(2, dim=-3)[0].clamp(0.0, 1.0)
