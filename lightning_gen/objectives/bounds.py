"""Objectives of a VAE: from the terms of the evidence lower bound (ELBO) to a loss per image [B], in nats.

Each class is one choice of `model/objective`, with its weights, and a function of `Terms`. With beta = 1 and one
latent per image each bound is the negative ELBO. Training and validation call the same objective.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_gen.distributed import mean_over_processes, of_all_processes
from lightning_gen.objectives.divergences import decomposed_kl, mmd
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution
from lightning_gen.ranges import Count, Fraction, NonNegative


@dataclass(frozen=True)
class Terms:
    """The terms of the bound for a batch of B images with k latents each."""

    log_likelihood: Tensor  # log p(x|z), [k, B]; or [B], of one latent, to objectives without `densities`
    # KL(q(z|x) || p(z)): in closed form [B, Z]; else the mean of log q - log p over the k latents, [B, 1], or [B, L]
    # for L layers of latents
    kl: Tensor
    latents: Tensor  # [k, B, Z], with a gradient to the encoder
    posterior: Distribution | None  # None with several layers of latents
    log_prior: Tensor | None = None  # log p(z), [k, B]; given to objectives with `densities`
    log_q: Tensor | None = None  # log q(z|x), [k, B]; given to objectives with `densities`
    prior_draws: Tensor | None = None  # [B, Z]; given to objectives with `needs_prior_draws`
    size: int = 0  # number of training images
    shared_out: bool = False  # the batch is divided among the processes, as in training

    def rows(self, values: Tensor) -> Tensor:
        """The values [B, ...] of the whole batch, gathered from all processes."""
        return of_all_processes(values) if self.shared_out else values

    @property
    def mean_log_likelihood(self) -> Tensor:
        """E_q[log p(x|z)], estimated with k latents, [B]."""
        each = self.log_likelihood
        if each.ndim == 1:
            return each
        return each.squeeze(0) if len(each) == 1 else each.mean(dim=0)

    @property
    def reconstruction(self) -> Tensor:
        """-E_q[log p(x|z)], [B]."""
        return -self.mean_log_likelihood

    @property
    def log_weights(self) -> Tensor:
        """log p(x, z) - log q(z|x), [k, B] (Burda et al. 2016, eq. 8)."""
        assert self.log_prior is not None
        assert self.log_q is not None
        return self.log_likelihood + self.log_prior - self.log_q


class ELBO:
    """The negative ELBO, -E_q[log p(x|z)] + beta KL(q(z|x) || p(z)) (Kingma & Welling 2014, eq. 7).

    The expectation is estimated with `samples` latents per image. beta other than 1: beta-VAE (Higgins et al. 2017,
    eq. 4). beta may follow a schedule: a warm-up (Bowman et al. 2016; Sonderby et al. 2016) or cycles of it (Fu et
    al. 2019, eq. 6). Most subclasses replace the second term, `divergence`.
    """

    choice: ClassVar[str] = "elbo"  # the name in `model/objective`, for messages; set where a flag below is
    densities: ClassVar[bool] = False  # needs log p(z) and log q(z|x) even where the KL is known in closed form
    stops_q: ClassVar[bool] = False  # log q(z|x) gives no gradient to the posterior's parameters
    needs_prior_draws: ClassVar[bool] = False
    needs_diagonal: ClassVar[bool] = False  # needs posteriors that are diagonal Gaussians
    needs_gaussian: ClassVar[bool] = False  # needs posteriors that are Gaussians
    needs_own_weights: ClassVar[bool] = False  # needs importance weights w_i that depend on the latent z_i alone
    needs_images: ClassVar[int] = 1  # the smallest training batch

    def __init__(self, beta: NonNegative = 1.0, samples: Count = 1) -> None:
        self.beta, self.samples = beta, samples

    def __call__(self, terms: Terms) -> Tensor:
        return self.divergence(terms) - terms.mean_log_likelihood

    def divergence(self, terms: Terms) -> Tensor:
        """The term that is added to the reconstruction term, [B]."""
        kl = terms.kl.sum(dim=1)
        return kl if self.beta == 1 else self.beta * kl


class Capacity(ELBO):
    """gamma |KL - capacity| in place of the KL, which is here the mean over the batch (Burgess et al. 2018, eq. 8).

    The paper's capacity rises from 0 during training: give a schedule.
    """

    def __init__(self, capacity: NonNegative, gamma: NonNegative = 1000.0, samples: Count = 1) -> None:
        super().__init__(1.0, samples)
        self.capacity, self.gamma = capacity, gamma

    def divergence(self, terms: Terms) -> Tensor:
        kl = mean_over_processes(terms.kl.sum(dim=1).mean())
        return (self.gamma * (kl - self.capacity).abs()).expand(terms.kl.shape[0])


class FreeBits(ELBO):
    """beta sum_j max(nats, KL_j), with KL_j the batch's mean KL in dimension j (Kingma et al. 2016, eq. 15).

    Where the KL is not known for each dimension, the total of `nats` * Z is divided equally among the layers of
    latents.
    """

    def __init__(self, nats: NonNegative, beta: NonNegative = 1.0, samples: Count = 1) -> None:
        super().__init__(beta, samples)
        self.nats = nats

    def divergence(self, terms: Terms) -> Tensor:
        each = mean_over_processes(terms.kl.mean(dim=0))  # [Z] or [1]
        floor = self.nats * terms.latents.shape[-1] / len(each)
        return (self.beta * each.clamp_min(floor).sum()).expand(terms.kl.shape[0])


class BetaTC(ELBO):
    """alpha I(z; x) + beta TC(z) + gamma sum_j KL(q(z_j) || p(z_j)) in place of the KL (Chen et al. 2018, eq. 4).

    I is the mutual information of latents and images, TC the total correlation of the latents' dimensions.
    """

    choice: ClassVar[str] = "beta_tc"
    densities = True
    needs_diagonal = True
    needs_images = 2  # to estimate the aggregated posterior

    def __init__(self, alpha: NonNegative = 1.0, beta: NonNegative = 6.0, gamma: NonNegative = 1.0) -> None:
        super().__init__(beta)
        self.alpha, self.gamma = alpha, gamma

    def divergence(self, terms: Terms) -> Tensor:
        q, log_prior = terms.posterior, terms.log_prior
        assert isinstance(q, DiagonalGaussian)
        assert log_prior is not None
        rows = [terms.rows(part) for part in (terms.latents[0], q.mean, q.log_variance, log_prior[0])]
        parts = decomposed_kl(rows[0], DiagonalGaussian(rows[1], rows[2]), rows[3], terms.size)
        information, correlation, each = (part.mean() for part in parts)
        whole = self.alpha * information + self.beta * correlation + self.gamma * each
        return whole.expand(terms.kl.shape[0])


class InfoVAE(ELBO):
    """(1 - alpha) KL + (alpha + lambda - 1) MMD^2(q(z), p(z)) in place of the KL (Zhao et al. 2019, eq. 6).

    `weight` is lambda. The squared maximum mean discrepancy, MMD^2, is not in nats: choose `weight` for the scale of
    its kernel, `divergences.inverse_multiquadratic`.
    """

    choice: ClassVar[str] = "info_vae"
    needs_prior_draws = True
    needs_images = 2  # the estimator of MMD^2 needs pairs

    def __init__(self, alpha: float = 0.0, weight: NonNegative = 1000.0, samples: Count = 1) -> None:
        super().__init__(1 - alpha, samples)
        self.mmd_weight = alpha + weight - 1

    def divergence(self, terms: Terms) -> Tensor:
        assert terms.prior_draws is not None
        distance = mmd(terms.rows(terms.latents[0]), terms.rows(terms.prior_draws))
        return super().divergence(terms) + self.mmd_weight * distance


def importance_bound(log_weights: Tensor) -> Tensor:
    """log 1/k sum_i w_i from log weights [k, ...]: [...] (Burda et al. 2016, eq. 8)."""
    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))


class IWAE(ELBO):
    """Importance-weighted bound: -log 1/k sum_i p(x, z_i) / q(z_i|x), k = `samples` (Burda et al. 2016, eq. 8)."""

    densities = True

    def __init__(self, samples: Count) -> None:
        super().__init__(1.0, samples)

    def __call__(self, terms: Terms) -> Tensor:
        return -importance_bound(terms.log_weights)


class MIWAE(ELBO):
    """The mean of `outer` importance-weighted bounds of `inner` latents each (Rainforth et al. 2018, eq. 5)."""

    densities = True

    def __init__(self, outer: Count, inner: Count) -> None:
        super().__init__(1.0, outer * inner)
        self.inner = inner

    def __call__(self, terms: Terms) -> Tensor:
        return -importance_bound(terms.log_weights.unflatten(0, (self.inner, -1))).mean(dim=0)


class CIWAE(ELBO):
    """share * ELBO + (1 - share) * IWAE bound, from the same latents (Rainforth et al. 2018, eq. 6; share: beta)."""

    densities = True

    def __init__(self, samples: Count, share: Fraction = 0.05) -> None:
        super().__init__(1.0, samples)
        self.share = share

    def __call__(self, terms: Terms) -> Tensor:
        weights = terms.log_weights
        return -self.share * weights.mean(dim=0) - (1 - self.share) * importance_bound(weights)


class DReG(ELBO):
    """The importance-weighted bound with the doubly reparameterized gradient (Tucker et al. 2019, eq. 8).

    The encoder's gradient comes through the latents alone, weighted by w_i^2, with normalized weights w. The gradient
    of the decoder and of the prior is that of IWAE, weighted by w_i. log q(z|x) gives no gradient to the posterior's
    parameters (`stops_q`).
    """

    choice: ClassVar[str] = "dreg"
    densities = True
    stops_q = True
    needs_gaussian = True
    needs_own_weights = True

    def __init__(self, samples: Count) -> None:
        super().__init__(1.0, samples)

    def __call__(self, terms: Terms) -> Tensor:
        log_weights = terms.log_weights
        weights = log_weights.detach().softmax(dim=0)  # [k, B]
        if terms.latents.requires_grad:
            # The gradient here is w_i d log w_i / d z_i; the hook multiplies it by the second w_i
            terms.latents.register_hook(lambda gradient: gradient * weights.unsqueeze(-1))
        surrogate = -(weights * log_weights).sum(dim=0)
        return surrogate + (-importance_bound(log_weights) - surrogate).detach()
