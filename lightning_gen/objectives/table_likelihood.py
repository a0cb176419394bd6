"""The likelihood of rows of a table: a distribution of its own for each column."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.data.tables import TableSchema, probabilities
from lightning_gen.errors import UserError
from lightning_gen.networks.precision import full_precision
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Positive

TINY = 1e-20  # below a uniform number, before its logarithm
RAREST = 1e-3  # probability of a category in the mean row, before its logarithm


class TableLikelihood(Likelihood):
    """log p(x|z) of rows, the sum over columns of log-densities and log-probabilities (Xu et al. 2019, TVAE).

    A numeric column has a Gaussian with the raw output as its mean and a learned standard deviation, one for the
    column, in units of the column's standard deviation in the training rows. A categorical column has a categorical
    distribution with the raw output as its logits. A constant column has no part in the density.

    Args:
        sigma: the initial standard deviation.
        min_sigma: a lower bound on it, so that a column that others determine does not have an infinite density.

    Raises:
        UserError: sigma is not above its lower bound.
    """

    places: Tensor  # of the numeric columns

    def __init__(self, sigma: Positive = 1.0, min_sigma: Positive = 0.01) -> None:
        super().__init__()
        if sigma <= min_sigma:
            raise UserError(f"model.likelihood.sigma={sigma} must be above model.likelihood.min_sigma={min_sigma}.")
        self.min_log_sigma = math.log(min_sigma)
        excess = math.log(sigma) - self.min_log_sigma
        self.start = math.log(math.expm1(excess)) if excess < 30 else excess  # softplus(start) = excess
        self.blocks: list[slice] = []

    def for_table(self, table: TableSchema | None) -> None:
        if table is None:
            raise UserError("model/likelihood=table is for rows of a table, and these are images: omit it.")
        self.blocks = table.blocks()
        self.register_buffer("places", table.numeric(), persistent=False)
        self.raw_sigma = nn.Parameter(torch.full((len(self.places),), self.start))

    @property
    def log_sigma(self) -> Tensor:
        return self.min_log_sigma + F.softplus(self.raw_sigma)  # [numeric columns]

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        raw = full_precision(raw)
        error = (images - raw).index_select(-1, self.places) * torch.exp(-self.log_sigma)
        result = (-0.5 * error.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        for block in self.blocks:
            result = result + (images[..., block] * raw[..., block].log_softmax(dim=-1)).sum(dim=-1)
        return result.flatten(-2).sum(dim=-1)  # [..., 1, 1] to [...]

    def mean(self, raw: Tensor) -> Tensor:
        """Rows [..., 1, 1, D]: the means of numeric columns, and the probabilities of categories."""
        return probabilities(full_precision(raw), self.blocks)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        """Rows drawn from p(x|z); their categories are one-hot."""
        drawn, normal = full_precision(raw).clone(), noise.normal(raw.shape, raw.device)
        drawn[..., self.places] += self.log_sigma.exp() * normal[..., self.places]
        if self.blocks:
            uniform = noise.uniform(raw.shape, raw.device).clamp_min(TINY)
            gumbel = -torch.log(-torch.log(uniform))  # the largest logit plus Gumbel noise has the softmax's odds
            for block in self.blocks:
                chosen = (drawn[..., block] + gumbel[..., block]).argmax(dim=-1)
                drawn[..., block] = F.one_hot(chosen, drawn[..., block].shape[-1]).to(drawn)
        return drawn

    def output_of(self, images: Tensor) -> Tensor:
        raw = images.clone()
        for block in self.blocks:
            raw[..., block] = images[..., block].clamp_min(RAREST).log()
        return raw
