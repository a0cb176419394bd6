"""The variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014), with parts that can be exchanged."""

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import UserError
from lightning_gen.metrics.posterior_statistics import posterior_statistics
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.vae_pictures import kl_bars, traversals
from lightning_gen.models.variational import OutputBias, VariationalModel
from lightning_gen.networks.conditioning import conditional_decoder, with_label_channels
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.bounds import ELBO, Terms
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.objectives.posteriors import (
    Diagonal,
    DiagonalGaussian,
    Distribution,
    FullCovariance,
    FullGaussian,
)
from lightning_gen.objectives.priors import StandardNormal, Vamp
from lightning_gen.pictures import Picture
from lightning_gen.randomness import GeneratorNoise, Noise, StepNoise
from lightning_gen.ranges import Count

PosteriorFactory = Callable[[int, int], nn.Module]  # (features, latent_dim) -> head that gives a Distribution
PriorFactory = Callable[[int, ImageShape], StandardNormal]  # (latent_dim, image_shape) -> prior

PRIOR_DRAWS = 10_000  # draws from which the moments of a prior other than N(0, I) are estimated
COLLAPSED = (
    "the posterior has collapsed: no latent dimension is active (the variance of its mean over held-out "
    "images is below 0.01), so the decoder ignores the codes. Try model/objective=warm_up or free_bits, or a lower "
    "learning rate."
)


class VAE(VariationalModel):
    """Maximizes the evidence lower bound (ELBO), in nats per image, or another objective of its terms.

    ELBO(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)) (Kingma & Welling 2014, eq. 3), both summed over dimensions.
    The expectation is estimated with reparameterized samples. The KL is computed in closed form for a Gaussian q and
    the prior N(0, I), otherwise estimated as log q - log p at the samples.

    A conditional model has q(z|x, y) and p(x|z, y) (Sohn et al. 2015): the encoder's input has one additional,
    constant channel for each class.

    Raises:
        UserError: parts that cannot be combined, see the message.
    """

    shown: ClassVar[dict[str, str]] = {"elbo": "train/elbo", "kl": "train/kl"}
    takes_tables = True

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        likelihood: Likelihood,
        posterior: PosteriorFactory = Diagonal,
        prior: PriorFactory = StandardNormal,
        objective: ELBO | None = None,
        latent_dim: Count = 32,
        output_bias: OutputBias = "default",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, optimizer, objective, output_bias, num_classes, seed)
        channels, height, width = image_shape
        self.encoder = encoder(image_shape=(channels + num_classes, height, width))
        self.posterior = posterior(self.encoder.num_features, latent_dim)  # type: ignore[arg-type]
        self.prior = prior(latent_dim, image_shape)
        self.normal_prior = self.prior.standard
        decoded = (likelihood.channels(channels), height, width)
        self.decoder = conditional_decoder(decoder, latent_dim, num_classes, decoded)
        self.likelihood = likelihood
        self._check_parts()

    def _check_parts(self) -> None:
        diagonal = isinstance(self.posterior, Diagonal)
        objective = self.objective
        if objective.needs_diagonal and not diagonal:
            raise UserError(
                f"model/objective={objective.choice} needs a diagonal Gaussian: set model/posterior=diagonal."
            )
        if objective.needs_gaussian and not (diagonal or isinstance(self.posterior, FullCovariance)):
            raise UserError(f"model/objective={objective.choice} needs model/posterior=diagonal or full_covariance.")
        if objective.needs_own_weights and self.likelihood.couples_images:
            raise UserError(
                f"model/objective={objective.choice} does not work with model/likelihood=optimal_gaussian, whose "
                "sigma depends on the whole batch: use model/likelihood=gaussian, or model/objective=iwae."
            )
        if self.prior.of_images and not diagonal:
            raise UserError("model/prior=vamp is a mixture of Gaussian posteriors: set model/posterior=diagonal.")
        if self.prior.of_images and self.num_classes:
            raise UserError("model/prior=vamp has no conditional form: set conditional=false.")

    def see_table(self, table: TableSchema | None) -> None:
        super().see_table(table)
        if table is not None and self.prior.of_images:
            raise UserError("model/prior=vamp has images as its parameters, and these are rows of a table: omit it.")

    def see_data(self, data: ImageDataModule, fresh: bool) -> None:
        super().see_data(data, fresh)
        if fresh and isinstance(self.prior, Vamp):
            count = len(self.prior.pseudo_inputs)
            images = torch.cat([batch.images for batch in data.train_batches(torch.device("cpu"), limit=count)])
            if len(images) < count:
                raise UserError(
                    f"model.prior.components={count} is more than the {len(images)} training images: set it to "
                    f"{len(images)} or less."
                )
            self.prior.start_from(images)

    # -- distributions ---------------------------------------------------------------------------------------

    def posterior_of(self, images: Tensor, labels: Tensor | None = None) -> Distribution:
        """q(z|x), or q(z|x, y) with labels int64 [B]."""
        if self.num_classes:
            if labels is None:
                raise ValueError("a conditional model needs the labels of its images")
            images = with_label_channels(images, nn.functional.one_hot(labels, self.num_classes))
        return self.posterior(self.encoder(images))

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.posterior_of(images, labels).mean

    def decode(self, latents: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(latents))

    def codes_from(self, noise: Noise, count: int) -> Tensor:
        if self.density is not None or self.prior.standard:
            return super().codes_from(noise, count)
        normal = noise.normal((count, self.latent_dim), self.device)
        return self.prior(normal, noise.uniform((count,), self.device), self.posterior_of)

    def sample_rows(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Draws from p(x|z), because its mean varies too little."""
        codes = self.sample_codes(count, generator)
        return self.simulated(codes, None, GeneratorNoise(generator, self.dtype)).float()  # type: ignore[arg-type]

    def networks(self) -> list[nn.Module]:
        return [self.encoder, self.decoder]

    # -- the bound -------------------------------------------------------------------------------------------

    def terms(self, batch: Batch, noise: StepNoise) -> Terms:
        """The terms of the objective, from `objective.samples` latents of each image."""
        images, wanted = self.prepared(batch, noise), self.objective
        q = self.posterior_of(images, batch.labels)
        gaussian = q if isinstance(q, DiagonalGaussian | FullGaussian) else None
        closed = gaussian if self.prior.standard else None  # with a KL in closed form
        shape = (len(images), wanted.samples, self.latent_dim)  # images first, so that processes share the draws
        normal = noise.normal(shape, images.device)
        log_q = None
        if closed is None or wanted.densities:
            latents, log_q = q.draw(normal.transpose(0, 1))
        elif wanted.samples == 1 and isinstance(closed, DiagonalGaussian):
            latents = closed.latents_of(normal.squeeze(1))  # [B, Z]: each view of it and its gradient takes time
        else:
            latents = closed.latents_of(normal.transpose(0, 1))
        if wanted.stops_q and gaussian is not None:
            log_q = gaussian.detached().log_prob(latents)
        log_prior = None
        if closed is None or wanted.densities:
            log_prior = self.prior.log_prob(latents, self.posterior_of)
        if closed is not None:
            kl = closed.standard_normal_kl()
        else:
            assert log_q is not None
            assert log_prior is not None
            kl = (log_q - log_prior).mean(dim=0).unsqueeze(1)
        draws = None
        if wanted.needs_prior_draws:
            normal = noise.normal((len(images), self.latent_dim), images.device)
            draws = self.prior(normal, noise.uniform((len(images),), images.device), self.posterior_of)
        likelihood = self.log_likelihood(latents, images, batch.labels)
        latents = latents if latents.ndim == 3 else latents.unsqueeze(0)
        size = max(self.train_size, len(images))
        return Terms(likelihood, kl, latents, q, log_prior, log_q, draws, size, shared_out=self.training)

    def elbo_terms(self, images: Tensor, noise: StepNoise, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Estimates of E_q[log p(x|z)] and of KL(q || p), each [B], in nats."""
        terms = self.terms(Batch(images, labels), noise)
        return -terms.reconstruction, terms.kl.sum(dim=1)

    # -- evaluation ------------------------------------------------------------------------------------------

    def held_out_metrics(self, batches: Callable[[], Iterable[Batch]]) -> dict[str, float]:
        if self.density is None and not self.prior.standard:
            prior = self.sample_codes(PRIOR_DRAWS, self.fixed_generator())
        else:
            prior = None
        posteriors = (self.posterior_of(batch.images, batch.labels) for batch in batches())
        return posterior_statistics(posteriors, prior)

    def complaints(self, metrics: dict[str, float]) -> list[str]:
        return [COLLAPSED] if metrics.get("eval/active_units") == 0 else []

    def densities(self, batch: Batch, noise: StepNoise) -> Densities:
        images, labels = self.prepared(batch, noise), batch.labels
        q = self.posterior_of(images, labels)
        return Densities(
            shape=(len(images), self.latent_dim),
            draw=q.draw,
            log_prior=lambda codes: self.prior.log_prob(codes, self.posterior_of),
            log_likelihood=lambda codes: self.log_likelihood(codes, images, labels),
            draw_prior=lambda normal, uniform: self.prior(normal, uniform, self.posterior_of),
            simulate=lambda codes, noise: self.simulated(codes, labels, noise),
            values=images[0, 0].numel() * self.likelihood.channels(self.image_shape[0]),
            discrete=self.eight_bit,
        )

    @torch.no_grad()
    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        def decode(codes: Tensor) -> Tensor:
            return self.decode(
                self.labelled(codes, None if labels is None else labels[:1].expand(len(codes)))
            ).float()

        q = self.posterior_of(images, labels)
        if self.table is not None:
            return super().pictures(images, labels) | kl_bars(q, self.unit)
        return super().pictures(images, labels) | {"traversals": traversals(q, decode)} | kl_bars(q, self.unit)
