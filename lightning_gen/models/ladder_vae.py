"""The deep hierarchical VAE, with convolutional layers of latents (Sonderby et al. 2016; Child 2021)."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.hierarchical_vae import check_objective
from lightning_gen.models.variational import OutputBias, VariationalModel
from lightning_gen.networks.ladder import LadderDecoder, LadderEncoder, LatentLayer, MeanAndLogVariance, scaled
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape, check_images
from lightning_gen.objectives.bounds import ELBO, Terms, importance_bound
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.objectives.posteriors import LOG_VARIANCE_LIMIT, DiagonalGaussian, standard_normal_log_prob
from lightning_gen.randomness import StepNoise


class Descent(NamedTuple):
    """One way down for each of N draws."""

    raw: Tensor  # the decoder's output, [N, C', H, W]
    codes: Tensor  # e, [N, Z]
    log_q: Tensor  # log q(z|x), as a density of e, [N]
    kl: Tensor  # KL of each layer's posterior from its prior, given the layers above, [N, L]


class LadderVAE(VariationalModel):
    """p(x, z) = p(x|z) prod_l p(z_l | z_<l) with the posterior q(z|x) = prod_l q(z_l | x, z_<l), from coarse to fine.

    The encoder computes maps of features upwards. The decoder goes down through the layers; each one's prior depends
    on the features so far, and its posterior on these and on the encoder's map of the same resolution (Child 2021,
    fig. 3). All are diagonal Gaussians, and p(z_1) = N(0, I). The KL of each layer is in closed form, given the
    latents drawn above it.

    The codes that `encode` returns and `decode` takes are e, [B, Z], with z_l = mu_l + sigma_l e_l and mu_l, sigma_l
    of p(z_l | z_<l). So the prior of the codes is N(0, I), and decoding is deterministic.

    Raises:
        UserError: other networks, points in the plane, or an objective that needs a single layer of latents.
    """

    monitor = ("eval/bound", "max")
    shown: ClassVar[dict[str, str]] = {"elbo": "train/elbo", "kl": "train/kl"}
    encoder: LadderEncoder
    decoder: LadderDecoder

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        likelihood: Likelihood,
        objective: ELBO | None = None,
        output_bias: OutputBias = "default",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        check_images("ladder_vae", image_shape)
        up = encoder(image_shape=image_shape)
        if not isinstance(up, LadderEncoder):
            raise UserError("model=ladder_vae needs maps of features at several resolutions: use networks=ladder.")
        channels, height, width = image_shape
        outputs = (likelihood.channels(channels), height, width)
        down = decoder(latent_dim=None, image_shape=outputs, num_classes=num_classes)
        assert isinstance(down, LadderDecoder)
        super().__init__(image_shape, down.code_dim, optimizer, objective, output_bias, num_classes, seed)
        check_objective(self.objective)
        self.encoder, self.decoder, self.likelihood = up, down, likelihood

    # -- use -------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        noise = torch.zeros(images.shape[0], self.latent_dim, device=images.device, dtype=images.dtype)
        return self.descend(self.encoder.maps(images), noise, labels).codes

    def decode(self, latents: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(latents))

    # -- the bound -------------------------------------------------------------------------------------------

    def descend(self, maps: Sequence[Tensor], noise: Tensor, labels: Tensor | None) -> Descent:
        """Draw the layers from their posteriors, with N(0, I) noise [N, Z], for maps of features of N images."""
        parts = self.decoder.parts(noise)
        codes, log_q, kl = [], [], []

        def choose(index: int, above: Tensor, prior: MeanAndLogVariance) -> Tensor:
            layer = self.decoder.layers[index]
            assert isinstance(layer, LatentLayer)
            q = gaussian(layer.posterior(above, maps[self.decoder.scale_of[index]]))
            p = gaussian(prior)
            relative = DiagonalGaussian(
                p.noise_of(q.mean), q.log_variance - p.log_variance
            )  # of e, whose prior is N(0, I)
            (drawn,), (density,) = relative.draw(parts[index].unsqueeze(0))
            codes.append(drawn)
            log_q.append(density)
            kl.append(relative.standard_normal_kl().sum(dim=1))
            return scaled(drawn, (p.mean, p.log_variance)).unflatten(1, self.decoder.shapes[index])

        classes = noise.new_zeros(noise.shape[0], 0)
        if self.num_classes:
            assert labels is not None, "a conditional model needs the labels of its images"
            classes = one_hot(labels, self.num_classes).to(noise)
        raw = self.decoder.descend(noise.shape[0], classes, choose)
        return Descent(raw, torch.cat(codes, dim=1), torch.stack(log_q).sum(dim=0), torch.stack(kl, dim=1))

    def drawn(self, images: Tensor, noise: Tensor, labels: Tensor | None) -> Descent:
        """Draws from noise [k, B, Z] for B images, in one batch of N = k B."""
        count = len(noise)
        maps = [each.repeat(count, 1, 1, 1) for each in self.encoder.maps(images)]
        return self.descend(maps, noise.flatten(0, 1), None if labels is None else labels.repeat(count))

    def terms(self, batch: Batch, noise: StepNoise) -> Terms:
        """The terms of the objective; the KL has one number for each layer, [B, L], the finest layer first."""
        images = self.prepared(batch, noise)
        shape = (len(images), self.objective.samples, self.latent_dim)  # images first: processes share the draws
        found = self.drawn(images, noise.normal(shape, images.device).transpose(0, 1), batch.labels)
        raw, codes, log_q, kl = (part.unflatten(0, (-1, len(images))) for part in found)
        wanted = self.objective.needs_prior_draws
        return Terms(
            log_likelihood=self.likelihood.log_prob(raw, images),
            kl=kl.mean(dim=0).flip(dims=(1,)),
            latents=codes,
            posterior=None,
            log_prior=standard_normal_log_prob(codes),
            log_q=log_q,
            prior_draws=noise.normal((len(images), self.latent_dim), images.device) if wanted else None,
            size=max(self.train_size, len(images)),
            shared_out=self.training,
        )

    def parts(self, terms: Terms) -> dict[str, Tensor]:
        """The ELBO and its parts, the KL of each layer, and `bound`, the importance-weighted bound; nats, [B]."""
        layers = {f"kl_layer{index + 1}": kl for index, kl in enumerate(terms.kl.unbind(dim=1))}
        return super().parts(terms) | {"bound": importance_bound(terms.log_weights), **layers}

    def densities(self, batch: Batch, noise: StepNoise) -> Densities:
        images, labels = self.prepared(batch, noise), batch.labels

        def draw(epsilon: Tensor) -> tuple[Tensor, Tensor]:
            found = self.drawn(images, epsilon, labels)
            return found.codes.view_as(epsilon), found.log_q.view(epsilon.shape[:2])

        return Densities(
            shape=(len(images), self.latent_dim),
            draw=draw,
            log_prior=standard_normal_log_prob,
            log_likelihood=lambda codes: self.log_likelihood(codes, images, labels),
            draw_prior=lambda normal, uniform: normal,
            simulate=lambda codes, noise: self.simulated(codes, labels, noise),
            values=images[0, 0].numel() * self.likelihood.channels(self.image_shape[0]),
            discrete=self.eight_bit,
        )


def gaussian(parameters: MeanAndLogVariance) -> DiagonalGaussian:
    """A Gaussian on [N, Z] from maps of means and log variances [N, c, h, w], in full precision."""
    mean, log_variance = (full_precision(part).flatten(1) for part in parameters)
    return DiagonalGaussian(mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT))
