"""The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.divergences import gaussian_kl
from lightning_gen.objectives.likelihoods import Bernoulli, Gaussian
from lightning_gen.objectives.precision import full_precision
from lightning_gen.randomness import StepNoise


class VAE(GenerativeModel):
    """Maximizes the evidence lower bound, in nats per image (Kingma & Welling 2014, eq. 10, with L = 1).

    ELBO(x) = E_q(z|x)[log p(x|z)] - beta KL(q(z|x) || N(0, I)), the expectation from one reparameterized sample,
    the divergence in closed form, both summed over dimensions. `beta=1` is the ELBO; the metrics `elbo`,
    `reconstruction` and `kl` are those of beta = 1 whatever `beta` is.
    """

    encodes = True
    shown: ClassVar[dict[str, str]] = {"elbo": "train/elbo", "kl": "train/kl"}
    LOG_VARIANCE_LIMIT = 20.0  # exp stays finite in float16 products; no posterior that trains comes near it

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        likelihood: Bernoulli | Gaussian,
        latent_dim: int = 32,
        beta: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed)
        self.make_optimizer, self.beta = optimizer, beta
        self.encoder = encoder(image_shape=image_shape)
        self.posterior = nn.Linear(self.encoder.num_features, 2 * latent_dim)  # type: ignore[arg-type]
        channels, height, width = image_shape
        self.decoder = decoder(latent_dim=latent_dim, image_shape=(likelihood.channels(channels), height, width))
        self.likelihood = likelihood

    def posterior_parameters(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each [B, Z]."""
        mean, log_variance = full_precision(self.posterior(self.encoder(images))).chunk(2, dim=1)
        return mean, log_variance.clamp(-self.LOG_VARIANCE_LIMIT, self.LOG_VARIANCE_LIMIT)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.posterior_parameters(images)[0]

    def decode(self, latents: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(latents))

    def elbo_terms(self, images: Tensor, noise: StepNoise) -> tuple[Tensor, Tensor]:
        """One-sample estimate of E_q[log p(x|z)] and KL(q || p), each [B], nats."""
        images = self.likelihood.prepare(images, lambda shape: noise.uniform(shape, images.device))
        mean, log_variance = self.posterior_parameters(images)
        epsilon = noise.normal(mean.shape, mean.device)
        latents = mean + (0.5 * log_variance).exp() * epsilon  # reparameterization
        return self.likelihood.log_prob(self.decoder(latents), images), gaussian_kl(mean, log_variance)

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        log_prob, kl = self.elbo_terms(batch.images, noise)
        return super().test_metrics(batch, noise) | {
            "elbo": log_prob - kl,
            "reconstruction": -log_prob,
            "kl": kl,
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        log_prob, kl = (term.mean() for term in self.elbo_terms(batch.images, self.noise))
        loss = self.beta * kl - log_prob
        self.scalars = {
            "train/loss": loss.detach(),
            "train/elbo": (log_prob - kl).detach(),
            "train/reconstruction": -log_prob.detach(),
            "train/kl": kl.detach(),
        }
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())
