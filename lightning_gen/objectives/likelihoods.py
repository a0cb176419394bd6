"""Likelihoods p(x|z): from the decoder's raw output [B, C', H, W] to nats per image [B].

A likelihood says how many channels the decoder must give (`channels`), turns grey images into what it is a
density of (`prepare`), scores images (`log_prob`) and gives the image to show (`mean`). Images are in [0, 1].
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.objectives.precision import full_precision

Uniform = Callable[[torch.Size], Tensor]  # draws from U[0, 1) in the given shape


class Bernoulli(nn.Module):
    """log p(x|z) of binary pixels, from logits (Kingma & Welling 2014, appendix C.1).

    A Bernoulli is a likelihood of binary data only: grey values are taken as probabilities and drawn anew
    each time (dynamic binarization, Burda et al. 2016), unless `binarize` is false, when the result is a
    cross entropy and no likelihood.
    """

    def __init__(self, binarize: bool = True) -> None:
        super().__init__()
        self.binarize = binarize

    def channels(self, image_channels: int) -> int:
        return image_channels

    def prepare(self, images: Tensor, uniform: Uniform) -> Tensor:
        return (uniform(images.shape) < images).to(images.dtype) if self.binarize else images

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        cross_entropy = F.binary_cross_entropy_with_logits(full_precision(raw), images, reduction="none")
        return -cross_entropy.flatten(1).sum(dim=1)  # [B]

    def mean(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()


class Gaussian(nn.Module):
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

    def channels(self, image_channels: int) -> int:
        return image_channels

    def prepare(self, images: Tensor, uniform: Uniform) -> Tensor:
        return images

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        error = (images - full_precision(raw)) * torch.exp(-self.log_sigma)
        per_pixel = -0.5 * error.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)
        return per_pixel.flatten(1).sum(dim=1)  # [B]

    def mean(self, raw: Tensor) -> Tensor:
        return raw.clamp(0.0, 1.0)
