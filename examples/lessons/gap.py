"""What the two models of lesson 3 share: training in parts, and the heights of log p(x) and of the bound."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.vae import VAE
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.bounds import ELBO
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.pictures.charts import COLOURS
from lightning_gen.randomness import StepNoise, Stream, mix

NOISE = StepNoise(mix(0, Stream.TRAINING))


class Heights(NamedTuple):
    """Means over the images, in nats."""

    log_p: float  # log p(x)
    bound: float  # the evidence lower bound
    kl: float  # KL(q(z|x) || p(z|x)), computed by itself and not as log p(x) minus the bound


def vae(pixels: tuple[int, int, int], widths: list[int], likelihood: Likelihood, samples: int) -> VAE:
    encoder = partial(MLPEncoder, widths=widths)
    decoder = partial(MLPDecoder, widths=widths[::-1])
    objective = ELBO(samples=samples)
    return VAE(pixels, encoder, decoder, torch.optim.Adam, likelihood, objective=objective, latent_dim=2)


def encoder_of(model: VAE) -> list[nn.Parameter]:
    return [*model.encoder.parameters(), *model.posterior.parameters()]


def decoder_of(model: VAE) -> list[nn.Parameter]:
    return list(model.decoder.parameters())


def both(model: VAE) -> list[nn.Parameter]:
    return encoder_of(model) + decoder_of(model)


def train(
    model: VAE, parameters: Iterable[nn.Parameter], images: Tensor, steps: int, rate: float, batch: int
) -> None:
    """Raise the bound by changing these parameters only."""
    optimizer = torch.optim.Adam(parameters, rate)
    for _ in range(steps):
        chosen = images[torch.randint(len(images), (batch,))] if batch < len(images) else images
        loss = model.loss(model.terms(Batch(chosen, None), NOISE)).mean()
        model.zero_grad()
        loss.backward()
        optimizer.step()


def draw_heights(axes: Axes, times: list[int], seen: list[Heights]) -> None:
    low, high = [h.log_p - h.kl for h in seen], [h.log_p for h in seen]
    axes.plot(times, high, color=COLOURS[2], label="log p(x)")
    axes.plot(times, [h.bound for h in seen], color=COLOURS[0], lw=3, label="the bound (ELBO)")
    axes.plot(times, low, "--", color="black", lw=1, label="log p(x) - KL(q(z|x) || p(z|x))")
    axes.fill_between(times, low, high, color=COLOURS[1], alpha=0.3, lw=0, label="the gap")
    axes.set(ylabel="nats per image")
    axes.spines[["top", "right"]].set_visible(False)
