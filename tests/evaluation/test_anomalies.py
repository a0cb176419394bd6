"""Likelihood scores of models whose likelihood is known."""

import math
from statistics import NormalDist
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import MultivariateNormal

from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.loader import Batch
from lightning_gen.data.tables import Column, TableSchema
from lightning_gen.errors import UserError
from lightning_gen.evaluation.anomalies import anomaly_scores, log_likelihoods
from lightning_gen.metrics.anomalies import auroc
from lightning_gen.models.base import GenerativeModel
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.likelihoods import Gaussian

SHAPE = (1, 2, 2)


class LinearGaussian(GenerativeModel):
    """x = W z + mean + noise of deviation s, with z from N(0, I) and the exact posterior (Bishop 2006, sec. 12.2)."""

    def __init__(self, mean: float, deviation: float = 0.5) -> None:
        super().__init__(SHAPE, latent_dim=2)
        self.weight = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
        self.mean, self.deviation = torch.full((4,), mean), deviation

    @property
    def marginal(self) -> MultivariateNormal:
        return MultivariateNormal(self.mean, self.weight @ self.weight.T + self.deviation**2 * torch.eye(4))

    def densities(self, batch, noise):
        x = batch.images.flatten(1)
        covariance = torch.linalg.inv(torch.eye(2) + self.weight.T @ self.weight / self.deviation**2)
        means = (x - self.mean) @ self.weight @ covariance / self.deviation**2
        posterior, prior = MultivariateNormal(means, covariance), MultivariateNormal(torch.zeros(2), torch.eye(2))

        def draw(normal):
            z = means + normal @ torch.linalg.cholesky(covariance).T
            return z, posterior.log_prob(z)

        def log_likelihood(z):
            return torch.distributions.Normal(z @ self.weight.T + self.mean, self.deviation).log_prob(x).sum(-1)

        return Densities((len(x), 2), draw, prior.log_prob, log_likelihood, lambda normal, uniform: normal)


def batches_of(*parts):
    return [Batch(part.view(-1, *SHAPE), None) for part in parts]


def test_the_likelihood_score_is_exact_where_the_posterior_is():
    model = LinearGaussian(0.3)
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    found = log_likelihoods(model, batches_of(x[:4], x[4:]), draws=3, seed=0)
    torch.testing.assert_close(found.values, model.marginal.log_prob(x).double(), rtol=1e-4, atol=1e-4)
    assert not found.eight_bit  # so there is no score that subtracts the length of a PNG file


def test_the_likelihood_ratio_is_the_best_score():
    """No score has a higher AUROC than the ratio of the two densities (Neyman & Pearson 1933)."""
    model, other = LinearGaussian(0.0), LinearGaussian(0.5)
    torch.manual_seed(0)
    normal, anomalies = model.marginal.sample((2000,)), other.marginal.sample((2000,))
    training = ImageSet(torch.zeros(5, *SHAPE))
    data = SimpleNamespace(seed=0, train=training, train_batches=lambda device: batches_of(training.images))
    scores = anomaly_scores(model, lambda: batches_of(normal, anomalies), data, draws=1, background=other)
    assert scores.values.keys() == {"nll", "likelihood_ratio", "nearest_pixels"}
    apart = (other.mean @ model.marginal.precision_matrix @ other.mean).sqrt().item()
    best = NormalDist().cdf(apart / math.sqrt(2))
    measured = {name: auroc(values[:2000], values[2000:]) for name, values in scores.values.items()}
    assert measured["likelihood_ratio"] == pytest.approx(best, abs=0.015)
    assert max(measured["nll"], measured["nearest_pixels"]) < best - 0.03


def test_a_background_of_other_images_is_refused():
    other = LinearGaussian(0.0)
    other.image_shape = (3, 8, 8)
    with pytest.raises(UserError, match="images of 1x2x2 and the background of 3x8x8"):
        anomaly_scores(LinearGaussian(0.0), list, SimpleNamespace(), background=other)


def test_a_background_of_another_table_is_refused():
    other = LinearGaussian(0.0)
    other.table = TableSchema((Column("x", "numeric"),))
    with pytest.raises(UserError, match="train it on the same table"):
        anomaly_scores(LinearGaussian(0.0), list, SimpleNamespace(), background=other)


def test_a_background_without_a_likelihood_is_refused():
    other = LinearGaussian(0.0)
    other.likelihood = Gaussian()
    with pytest.raises(UserError, match="two runs of models with the same likelihood"):
        anomaly_scores(LinearGaussian(0.0), list, SimpleNamespace(), background=other)
