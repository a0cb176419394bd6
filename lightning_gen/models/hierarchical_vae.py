"""The VAE with two stochastic layers of Burda et al. 2016, trained on their k-sample bound or on the ELBO."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.mlp import activation as make_activation
from lightning_gen.networks.mlp import perceptron
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.likelihoods import Bernoulli
from lightning_gen.randomness import StepNoise

LIMIT = 10.0  # of log sigma: exp stays finite, and nothing that trains comes near


class Normal(NamedTuple):
    """A Gaussian with a diagonal covariance: mean and log sigma, each [N, Z]."""

    mean: Tensor
    log_sigma: Tensor

    def draw(self, epsilon: Tensor) -> Tensor:
        """The values [N, Z] that N(0, I) noise [N, Z] stands for."""
        return self.mean + self.log_sigma.exp() * epsilon

    def noise_of(self, values: Tensor) -> Tensor:
        """The noise [N, Z] that these values [N, Z] stand for."""
        return (values - self.mean) * (-self.log_sigma).exp()

    def log_prob(self, values: Tensor) -> Tensor:
        """Of values [N, Z], nats, [N]."""
        return (log_standard_normal(self.noise_of(values)) - self.log_sigma).sum(dim=1)


def log_standard_normal(values: Tensor) -> Tensor:
    """log N(v; 0, 1) of each value, nats."""
    return -0.5 * (values.square() + math.log(2 * math.pi))


class Draws(NamedTuple):
    """k draws for each of B images, all [B * k]: the terms of log w in nats."""

    log_likelihood: Tensor  # log p(x|h1)
    kl1: Tensor  # log q(h1|x) - log p(h1|h2)
    kl2: Tensor  # log q(h2|h1) - log p(h2)


@torch.no_grad()
def start_at_mean(decoder: nn.Module, images: Tensor) -> None:
    """Let a decoder whose last layer is linear begin at the mean of uint8 images [N, C, H, W], as theirs does."""
    last = [module for module in decoder.modules() if isinstance(module, nn.Linear)][-1]
    if last.out_features == images[0].numel():
        mean = sum(part.double().sum(dim=0) for part in images.split(10_000)) / (255 * len(images))
        last.bias.copy_(mean.clamp(0.001, 0.999).logit().flatten())


class ConditionalNormal(nn.Module):
    """Values [N, D] to a `Normal` of [N, Z]: hidden layers, then one linear layer for mean and log sigma."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int, activation: str) -> None:
        super().__init__()
        hidden = [perceptron([inputs, *widths], activation), make_activation(activation)] if widths else []
        self.net = nn.Sequential(*hidden, nn.Linear([inputs, *widths][-1], 2 * outputs))

    def forward(self, values: Tensor) -> Normal:
        mean, log_sigma = full_precision(self.net(values)).chunk(2, dim=1)
        return Normal(mean, log_sigma.clamp(-LIMIT, LIMIT))


class HierarchicalVAE(GenerativeModel):
    """p(x, h1, h2) = p(h2) p(h1|h2) p(x|h1), q(h1, h2|x) = q(h1|x) q(h2|h1); all Gaussians but p(x|h1).

    With log w = log p(x, h1, h2) - log q(h1, h2|x), it maximizes `objective`, in nats per image: `iwae`, the bound
    log 1/k sum_i w_i (Burda et al. 2016, eq. 8), or `elbo`, the mean of k values of log w. All terms are sampled,
    none is in closed form, as theirs. Between images and h1 stand `networks`, between h1 and h2 layers of `widths`.

    A code at the public boundary is (h2, e), [B, Z2 + Z1], where h1 = mu(h2) + sigma(h2) e is drawn from p(h1|h2):
    so the prior of codes is N(0, I), and decoding is deterministic.
    """

    can_encode = True
    monitor = ("eval/bound", "max")
    shown: ClassVar[dict[str, str]] = {"bound": "train/bound", "elbo": "train/elbo"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        likelihood: Any,
        latent_dims: Sequence[int] = (100, 50),
        widths: Sequence[int] = (100, 100),
        activation: str = "tanh",
        objective: str = "iwae",
        k: int = 1,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        if objective not in ("iwae", "elbo"):
            raise UserError(f"model.objective={objective}: use iwae or elbo.")
        if len(latent_dims) != 2 or min(latent_dims) < 1:
            raise UserError(f"model.latent_dims={list(latent_dims)}: give both layers' sizes, such as [100,50].")
        if k < 1:
            raise UserError(f"model.k={k} must be 1 or more draws.")
        super().__init__(image_shape, sum(latent_dims), seed, num_classes)
        self.make_optimizer, self.objective, self.k, self.latent_dims = optimizer, objective, k, tuple(latent_dims)
        first, second = latent_dims
        self.encoder = encoder(image_shape=image_shape)
        self.posterior1 = ConditionalNormal(self.encoder.num_features, [], first, activation)  # type: ignore[arg-type]
        self.posterior2 = ConditionalNormal(first, widths, second, activation)
        self.prior1 = ConditionalNormal(second, list(widths)[::-1], first, activation)
        channels, height, width = image_shape
        outputs = (likelihood.channels(channels), height, width)
        self.decoder = conditional_decoder(decoder, first, num_classes, outputs)
        self.likelihood = likelihood
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # as theirs, whatever the activation
                nn.init.zeros_(module.bias)

    # -- use -------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        h1 = self.posterior1(self.encoder(images)).mean
        h2 = self.posterior2(h1).mean
        return torch.cat([h2, self.prior1(h2).noise_of(h1)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        codes, labels = latents.split([self.latent_dim, self.num_classes], dim=1)
        return self.likelihood.mean(self.decoder(torch.cat([self.h1(codes), labels], dim=1)))

    def h1(self, codes: Tensor) -> Tensor:
        """h1 [B, Z1] of codes (h2, e), [B, Z2 + Z1]."""
        h2, noise = codes.split(self.latent_dims[::-1], dim=1)
        return self.prior1(h2).draw(noise)

    # -- the bound -------------------------------------------------------------------------------------------

    def draws(self, images: Tensor, epsilon: Tensor, labels: Tensor | None = None) -> Draws:
        """The terms of log w for prepared images [B, ...] and N(0, I) noise [B, k, Z1 + Z2]; encodes each once."""
        k = epsilon.shape[1]
        epsilon1, epsilon2 = epsilon.flatten(0, 1).split(self.latent_dims, dim=1)
        q1 = Normal(*(part.repeat_interleave(k, dim=0) for part in self.posterior1(self.encoder(images))))
        h1 = q1.draw(epsilon1)
        q2 = self.posterior2(h1)
        h2 = q2.draw(epsilon2)
        wanted = None if labels is None else labels.repeat_interleave(k)
        raw = self.decoder(self.labelled(h1, wanted))
        return Draws(
            log_likelihood=self.likelihood.log_prob(raw, images.repeat_interleave(k, dim=0)),
            kl1=q1.log_prob(h1) - self.prior1(h2).log_prob(h1),
            kl2=q2.log_prob(h2) - log_standard_normal(h2).sum(dim=1),
        )

    def bounds(self, batch: Batch, noise: StepNoise, k: int) -> dict[str, Tensor]:
        """The bounds on log p(x) of k draws, `bound` (k-sample) and `elbo`, and the latter's parts; nats, [B]."""
        images = self.likelihood.prepare(batch.images, lambda shape: noise.uniform(shape, batch.images.device))
        epsilon = noise.normal((len(images), k, self.latent_dim), images.device)
        drawn = [term.view(-1, k) for term in self.draws(images, epsilon, batch.labels)]
        log_w = drawn[0] - drawn[1] - drawn[2]
        log_likelihood, kl1, kl2 = (term.mean(dim=1) for term in drawn)
        return {
            "bound": log_w.logsumexp(dim=1) - math.log(k),
            "elbo": log_w.mean(dim=1),
            "reconstruction": -log_likelihood,
            "kl_layer1": kl1,
            "kl_layer2": kl2,
        }

    def densities(self, batch: Batch, noise: StepNoise) -> Densities:
        """Of codes (h2, e), which are log p(x, h1, h2) and log q(h1, h2|x) but for the volume that h1 takes of e."""
        images = self.likelihood.prepare(batch.images, lambda shape: noise.uniform(shape, batch.images.device))
        q1 = self.posterior1(self.encoder(images))

        def draw(epsilon: Tensor) -> tuple[Tensor, Tensor]:
            k = len(epsilon)
            q = Normal(*(part.repeat(k, 1) for part in q1))
            epsilon1, epsilon2 = epsilon.flatten(0, 1).split(self.latent_dims, dim=1)
            h1 = q.draw(epsilon1)
            q2 = self.posterior2(h1)
            h2 = q2.draw(epsilon2)
            p1 = self.prior1(h2)
            log_q = q.log_prob(h1) + q2.log_prob(h2) + p1.log_sigma.sum(dim=1)
            return torch.cat([h2, p1.noise_of(h1)], dim=1).unflatten(0, (k, -1)), log_q.view(k, -1)

        def log_likelihood(codes: Tensor) -> Tensor:
            k = len(codes)
            labels = None if batch.labels is None else batch.labels.repeat(k)
            raw = self.decoder(self.labelled(self.h1(codes.flatten(0, 1)), labels))
            return self.likelihood.log_prob(raw, images.repeat(k, 1, 1, 1)).view(k, -1)

        return Densities(
            shape=(len(images), self.latent_dim),
            draw=draw,
            log_prior=lambda codes: log_standard_normal(codes).sum(dim=2),
            log_likelihood=log_likelihood,
            draw_prior=lambda normal, uniform: normal,
            values=images[0, 0].numel() * self.likelihood.channels(self.image_shape[0]),
        )

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return super().test_metrics(batch, noise) | self.bounds(batch, noise, self.k)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.images_seen == 0 and isinstance(self.likelihood, Bernoulli):
            start_at_mean(self.decoder, self.trainer.datamodule.train.images)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        terms = {name: term.mean() for name, term in self.bounds(batch, self.noise, self.k).items()}
        loss = -terms["bound" if self.objective == "iwae" else "elbo"]
        self.log_scalars({f"train/{name}": term for name, term in terms.items()} | {"train/loss": loss})
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())
