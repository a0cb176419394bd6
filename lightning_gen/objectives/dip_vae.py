"""DIP-VAE: penalties on the covariance of the aggregated posterior (Kumar et al. 2018)."""

from typing import ClassVar

import torch
from torch import Tensor

from lightning_gen.objectives.bounds import ELBO, Terms
from lightning_gen.objectives.posteriors import DiagonalGaussian, FullGaussian
from lightning_gen.ranges import Count, NonNegative


def covariance_penalty(covariance: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    """off_diagonal sum_(i != j) C_ij^2 + diagonal sum_i (C_ii - 1)^2 of a covariance C [Z, Z]: a scalar.

    Source: Kumar et al. 2018, eq. 6.
    """
    variances = covariance.diagonal()
    outside = covariance - torch.diag(variances)
    return off_diagonal * outside.square().sum() + diagonal * (variances - 1).square().sum()


class DIPVAEI(ELBO):
    """beta KL + `covariance_penalty` of the covariance of the posterior means (Kumar et al. 2018, eq. 6).

    The covariance is that of the batch of all processes, and the penalty, which is not in nats, counts once for each
    image. With a single image the covariance is undefined and the penalty is 0.

    Args:
        off_diagonal: lambda_od, the weight of the squared covariances.
        diagonal: lambda_d, the weight of the squared distances of the variances from 1.
        beta: the weight of the KL.
        samples: the number of latents drawn for each image.
    """

    choice: ClassVar[str] = "dip_vae_i"
    needs_gaussian = True
    needs_images = 2

    def __init__(
        self, off_diagonal: NonNegative, diagonal: NonNegative, beta: NonNegative = 1.0, samples: Count = 1
    ) -> None:
        super().__init__(beta, samples)
        self.off_diagonal, self.diagonal = off_diagonal, diagonal

    def divergence(self, terms: Terms) -> Tensor:
        q = terms.posterior
        assert isinstance(q, DiagonalGaussian | FullGaussian)
        means = terms.rows(q.mean)
        if len(means) < 2:
            return super().divergence(terms)
        centred = means - means.mean(dim=0)
        covariance = (centred.unsqueeze(2) * centred.unsqueeze(1)).mean(dim=0) + self.within(q, terms)
        return super().divergence(terms) + covariance_penalty(covariance, self.off_diagonal, self.diagonal)

    def within(self, q: DiagonalGaussian | FullGaussian, terms: Terms) -> Tensor:
        """What is added to the covariance of the means, [Z, Z] or a scalar."""
        return q.mean.new_zeros(())


class DIPVAEII(DIPVAEI):
    """As `DIPVAEI`, with the covariance of the latents: that of the means plus the mean covariance of the posteriors.

    Source: Kumar et al. 2018, eq. 7.
    """

    choice: ClassVar[str] = "dip_vae_ii"

    def within(self, q: DiagonalGaussian | FullGaussian, terms: Terms) -> Tensor:
        return terms.rows(q.covariance().mean(dim=0, keepdim=True)).mean(dim=0)
