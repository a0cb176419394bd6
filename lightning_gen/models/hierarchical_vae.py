"""The variational autoencoder with two stochastic layers (Burda et al. 2016)."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.variational import OutputBias, VariationalModel
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.initialization import StackedLinear, initialize
from lightning_gen.networks.mlp import activation as make_activation
from lightning_gen.networks.mlp import perceptron
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.bounds import ELBO, Terms, importance_bound
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.objectives.posteriors import LOG_VARIANCE_LIMIT, DiagonalGaussian, standard_normal_log_prob
from lightning_gen.randomness import StepNoise
from lightning_gen.ranges import Count

OBJECTIVES = "beta, capacity, ciwae, cyclic, elbo, free_bits, info_vae, iwae, miwae or warm_up"


def check_objective(objective: ELBO) -> None:
    """Raise a UserError for an objective that needs a single layer of latents."""
    if objective.needs_diagonal or objective.needs_gaussian:
        name = type(objective).__name__
        raise UserError(f"{name} needs a single layer of latents: use model/objective={OBJECTIVES}.")


class ConditionalGaussian(nn.Module):
    """Maps values [..., D] to a Gaussian on [..., Z]: hidden layers, then a linear one for the mean and log sigma."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int, activation: str) -> None:
        super().__init__()
        hidden = [perceptron([inputs, *widths], activation), make_activation(activation)] if widths else []
        self.net = nn.Sequential(*hidden, StackedLinear([inputs, *widths][-1], outputs, count=2))

    def forward(self, values: Tensor) -> DiagonalGaussian:
        mean, log_sigma = full_precision(self.net(values)).chunk(2, dim=-1)
        return DiagonalGaussian(mean, (2 * log_sigma).clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT))


class Draws(NamedTuple):
    """k draws for each of B images, with the log-densities of each layer in nats."""

    h1: Tensor  # [k, B, Z1]
    codes: Tensor  # (h2, e), [k, B, Z2 + Z1]
    log_q: Tensor  # log q(h1|x), as a density of e, and log q(h2|h1): [2, k, B]
    log_prior: Tensor  # log N(0, I) at e and at h2: [2, k, B]


class HierarchicalVAE(VariationalModel):
    """p(x, h1, h2) = p(h2) p(h1|h2) p(x|h1) with the posterior q(h1, h2|x) = q(h1|x) q(h2|h1).

    p(h2) is N(0, I), p(x|h1) is the likelihood, and the others are diagonal Gaussians. The KL is not computed in
    closed form but estimated as log q - log p at the samples, as in Burda et al. 2016. `networks` are the networks
    between images and h1; hidden layers of `widths` units connect h1 and h2. In a conditional model the decoder gets
    the class: p(x|h1, y).

    The codes that `encode` returns and `decode` takes are (h2, e), [B, Z2 + Z1], with h1 = mu(h2) + sigma(h2) e and
    mu, sigma of p(h1|h2). So the prior of the codes is N(0, I), and decoding is deterministic.

    Raises:
        UserError: an objective that needs a single layer of latents.
    """

    monitor = ("eval/bound", "max")
    shown: ClassVar[dict[str, str]] = {"bound": "train/bound", "elbo": "train/elbo"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        likelihood: Likelihood,
        objective: ELBO | None = None,
        latent_dims: tuple[Count, Count] = (100, 50),
        widths: Sequence[Count] = (100, 100),
        activation: str = "tanh",
        output_bias: OutputBias = "default",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, sum(latent_dims), optimizer, objective, output_bias, num_classes, seed)
        check_objective(self.objective)
        self.latent_dims = tuple(latent_dims)
        first, second = latent_dims
        self.encoder = encoder(image_shape=image_shape)
        self.posterior1 = ConditionalGaussian(self.encoder.num_features, [], first, activation)  # type: ignore[arg-type]
        self.posterior2 = ConditionalGaussian(first, widths, second, activation)
        self.prior1 = ConditionalGaussian(second, list(widths)[::-1], first, activation)
        channels, height, width = image_shape
        outputs = (likelihood.channels(channels), height, width)
        self.decoder = conditional_decoder(decoder, first, num_classes, outputs)
        self.likelihood = likelihood
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialize(module, "xavier_uniform", activation)  # as in the code of Burda et al.

    # -- use -------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        h1 = self.posterior1(self.encoder(images)).mean
        h2 = self.posterior2(h1).mean
        return torch.cat([h2, self.prior1(h2).noise_of(h1)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        codes, labels = latents.split([self.latent_dim, self.num_classes], dim=1)
        return self.likelihood.mean(self.decoder(torch.cat([self.h1(codes), labels], dim=1)))

    def h1(self, codes: Tensor) -> Tensor:
        """h1 [..., Z1] from codes (h2, e), [..., Z2 + Z1]."""
        h2, e = codes.split(self.latent_dims[::-1], dim=-1)
        return self.prior1(h2).draw(e)[0]

    # -- the bound -------------------------------------------------------------------------------------------

    def draw(self, q1: DiagonalGaussian, noise: Tensor) -> Draws:
        """Draws h1 from the posteriors q(h1|x) of B images, then h2, from N(0, I) noise [k, B, Z1 + Z2]."""
        noise1, noise2 = noise.split(self.latent_dims, dim=-1)
        h1, log_q1 = q1.draw(noise1)
        h2, log_q2 = self.posterior2(h1).draw(noise2)
        p1 = self.prior1(h2)
        e = p1.noise_of(h1)
        log_q1 = log_q1 + 0.5 * p1.log_variance.sum(dim=-1)  # the density of e is that of h1 times |dh1/de|
        return Draws(
            h1=h1,
            codes=torch.cat([h2, e], dim=-1),
            log_q=torch.stack([log_q1, log_q2]),
            log_prior=torch.stack([standard_normal_log_prob(e), standard_normal_log_prob(h2)]),
        )

    def terms(self, batch: Batch, noise: StepNoise) -> Terms:
        """The terms of the objective; the KL has one number for each layer, [B, 2]."""
        images = self.prepared(batch, noise)
        shape = (len(images), self.objective.samples, self.latent_dim)  # images first: processes share the draws
        drawn = self.draw(self.posterior1(self.encoder(images)), noise.normal(shape, images.device).transpose(0, 1))
        wanted = self.objective.needs_prior_draws
        return Terms(
            log_likelihood=self.log_likelihood(drawn.h1, images, batch.labels),
            kl=(drawn.log_q - drawn.log_prior).mean(dim=1).T,
            latents=drawn.codes,
            posterior=None,
            log_prior=drawn.log_prior.sum(dim=0),
            log_q=drawn.log_q.sum(dim=0),
            prior_draws=noise.normal((len(images), self.latent_dim), images.device) if wanted else None,
            size=max(self.train_size, len(images)),
            shared_out=self.training,
        )

    def parts(self, terms: Terms) -> dict[str, Tensor]:
        """The ELBO and its parts, and `bound`, the importance-weighted bound from the same draws; nats, [B]."""
        kl1, kl2 = terms.kl.unbind(dim=1)
        return super().parts(terms) | {
            "bound": importance_bound(terms.log_weights),
            "kl_layer1": kl1,
            "kl_layer2": kl2,
        }

    def densities(self, batch: Batch, noise: StepNoise) -> Densities:
        images, labels = self.prepared(batch, noise), batch.labels
        q1 = self.posterior1(self.encoder(images))

        def draw(epsilon: Tensor) -> tuple[Tensor, Tensor]:
            drawn = self.draw(q1, epsilon)
            return drawn.codes, drawn.log_q.sum(dim=0)

        return Densities(
            shape=(len(images), self.latent_dim),
            draw=draw,
            log_prior=standard_normal_log_prob,
            log_likelihood=lambda codes: self.log_likelihood(self.h1(codes), images, labels),
            draw_prior=lambda normal, uniform: normal,
            simulate=lambda codes, noise: self.simulated(self.h1(codes), labels, noise),
            values=images[0, 0].numel() * self.likelihood.channels(self.image_shape[0]),
            discrete=self.eight_bit,
        )
