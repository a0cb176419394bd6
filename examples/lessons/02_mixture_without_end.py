"""Lesson 2: a Gaussian mixture is blurry; a VAE is a mixture without end. docs/lessons/02_mixture_without_end.md

Mixtures of K Gaussians N(mu_k, sigma_k^2) with diagonal covariances, and VAEs p(x|z) = N(mu(z), sigma(z)^2) with as
many parameters, learn the same digits. A VAE is a mixture too, of one Gaussian for each z: M of them, drawn from the
prior, are a mixture whose log p(x) rises to that of the VAE as M grows.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_gen.data.imageset import Splits
from lightning_gen.data.loader import Batch
from lightning_gen.data.sources.mnist_small import mnist_small
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.likelihood import importance_sampled
from lightning_gen.models.expectation_maximization import iterate, start
from lightning_gen.models.gmm import GMM
from lightning_gen.models.vae import VAE
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.likelihoods import PixelGaussian
from lightning_gen.pictures import to_float, to_uint8
from lightning_gen.pictures.charts import COLOURS
from lightning_gen.randomness import StepNoise

SHAPE, PIXELS, CODE, BATCH = (1, 28, 28), 784, 16, 128
SIGMA = 0.1  # the smallest standard deviation of both: finer differences of grey do not count
PER_COMPONENT = 2 * PIXELS + 1  # parameters: means, variances and a weight
MIXTURE, NETWORK = "mixture of Gaussians", "VAE"


class Plan(NamedTuple):
    """How much is done."""

    counts: tuple[int, ...]  # K, of the mixtures
    networks: dict[int, tuple[int, float]]  # steps and learning rate of VAEs, by the K of the mixture of their size
    iterations: int  # of expectation maximization
    images: int  # whose log p(x) is measured, of the training and of the test images
    draws: int  # of z for each of them
    samples: int
    finite: int  # draws of z, as a finite mixture


RATES = {5: (4000, 1e-2), 20: (4000, 1e-2), 100: (6000, 5e-3), 500: (6000, 2e-3)}  # wider networks need lower ones
FULL = Plan((1, 5, 20, 100, 500), RATES, 20, 400, 200, 2000, 3000)
QUICK = Plan((1, 4), {4: (30, 1e-2)}, 3, 100, 20, 100, 300)


# -- two families ----------------------------------------------------------------------------------------------


def mixture(images: Tensor, components: int, iterations: int) -> GMM:
    """Gaussians with diagonal covariances, by expectation maximization."""
    model = GMM(SHAPE, torch.optim.Adam, components=components, covariance="diagonal", pca_dims=None, min_sigma=SIGMA)
    codes = model.space.codes(images)
    start(model.mixture, codes, model.min_variance, "k-means++", seed=0)
    for _ in range(iterations):
        iterate(model.mixture, codes, model.min_variance)
    return model


def vae(images: Tensor, parameters: int, steps: int, rate: float) -> VAE:
    """A VAE with one hidden layer, as wide as the number of parameters allows, encoder included.

    Its decoder starts from the means and standard deviations of the pixels, which is a mixture of one Gaussian.
    """
    width = (parameters - 2 * CODE - 2 * PIXELS) // (3 * PIXELS + 3 * CODE + 2)
    networks = (partial(kind, widths=[width]) for kind in (MLPEncoder, MLPDecoder))
    model = VAE(SHAPE, *networks, torch.optim.Adam, PixelGaussian(SIGMA), latent_dim=CODE)
    with torch.no_grad():
        mean, spread = images.flatten(1).mean(dim=0), moments(images)[1].sqrt()
        free = math.log(SIGMA) + torch.expm1((spread / SIGMA).log()).clamp_min(1e-2).log()
        model.decoder.net[-2].bias.copy_(torch.cat([mean, free]))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    drawn = torch.Generator().manual_seed(0)
    for step in range(steps):
        model.noise.start(step)
        batch = Batch(images[torch.randint(len(images), (BATCH,), generator=drawn)], None)
        model.zero_grad()
        model.image_losses(batch, model.noise).mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval()


# -- what is measured ------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """One model, and what is measured of it, see `MEASURED`."""

    parameters: int
    test: float
    train: float
    means: float
    drawn: float
    codes: float | None


MEASURED = {
    "test": "-log p(x) of test images, nats",
    "train": "-log p(x) of training images, nats",
    "means": "Fréchet distance of the means of its Gaussians",
    "drawn": "Fréchet distance of draws from them",
    "codes": "Fréchet distance of the means at the codes of test images",  # of a VAE
}


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances of the pixels, with the smallest variance added, as in expectation maximization."""
    pixels = images.flatten(1)
    return pixels.mean(dim=0), pixels.var(dim=0, correction=0) + SIGMA**2


def one_gaussian(train: Tensor, test: Tensor) -> float:
    """-log p(x) of one Gaussian with the moments of the pixels, in nats per image."""
    mean, variance = moments(train)
    error = (test.flatten(1) - mean).square() / variance + variance.log() + math.log(2 * math.pi)
    return float(0.5 * error.sum(dim=1).mean())


@torch.no_grad()
def nats(model: GMM | VAE, images: Tensor, draws: int) -> float:
    """-log p(x): exact for a mixture, and an upper bound in expectation for a VAE, by importance sampling."""
    if isinstance(model, GMM):
        return -float(model.log_prob(images).mean())
    densities, generator = model.densities(Batch(images, None), StepNoise(0)), torch.Generator().manual_seed(0)
    return -float(importance_sampled(densities, draws, torch.device("cpu"), generator).mean())


@torch.no_grad()
def samples(model: GMM | VAE, count: int) -> tuple[Tensor, Tensor]:
    """The means [N, 1, 28, 28] of Gaussians that are drawn by their weights, and draws from them, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(model, VAE):
        codes = model.sample_codes(count, generator)
        return model.decode(codes), model.simulated(codes, None, StepNoise(0)).clamp(0, 1)
    chosen = torch.multinomial(model.mixture.log_weights.exp(), count, replacement=True, generator=generator)
    return model.decode(model.mixture.means[chosen]).float(), model.simulated(count, StepNoise(0)).float().clamp(0, 1)


class Judge:
    """Fréchet distances to the test images, by the features of a classifier of digits."""

    def __init__(self, data: Splits) -> None:
        self.extractor: FeatureExtractor = build_extractor("classifier", dataset="mnist", images=data.train.images)
        self.real = self.moments(to_float(data.test.images))

    @torch.no_grad()
    def moments(self, images: Tensor) -> Moments:
        return Moments.of(torch.cat([self.extractor(to_float(part)) for part in to_uint8(images).split(500)]))

    def distance(self, images: Tensor) -> float:
        return frechet_distance(self.moments(images), self.real)


@torch.no_grad()
def as_finite_mixture(model: VAE, images: Tensor, count: int) -> Tensor:
    """-log p(x) of the VAE's Gaussians at M draws of z, for M = 1 to `count`, in nats per image: [count]."""
    codes = model.sample_codes(count, torch.Generator().manual_seed(0))
    parts = [model.likelihood.log_prob(model.decoder(some).unsqueeze(1), images) for some in codes.split(20)]
    numbers = torch.arange(1, count + 1).log().unsqueeze(1)
    return -(torch.cat(parts).logcumsumexp(dim=0) - numbers).mean(dim=1)


# -- pictures --------------------------------------------------------------------------------------------------


def pictures(rows: dict[str, Tensor]) -> Figure:
    """A row of images for each model."""
    figure = Figure(figsize=(9, 0.62 * len(rows) + 0.5), layout="constrained")
    figure.suptitle("The means of the Gaussians that samples come from", weight="bold", x=0.01, ha="left")
    for axes, (name, images) in zip(figure.subplots(len(rows), 1), rows.items(), strict=True):
        axes.imshow((1 - torch.cat(list(images[:14, 0]), dim=1)).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


LABELS = {"test": "test images", "train": "training images", "means": "means", "drawn": "draws, with noise"}


def against_size(axes: Axes, found: dict[str, list[Found]], solid: str, dashed: str) -> None:
    """Two numbers of the models against their parameters."""
    for colour, (name, models) in zip(COLOURS, found.items(), strict=False):
        sizes = [model.parameters for model in models]
        for field, style in ((solid, "o-"), (dashed, "o--")):
            label = f"{name}: {LABELS[field]}"
            axes.plot(sizes, [getattr(model, field) for model in models], style, color=colour, label=label)
    axes.set(xscale="log", xlabel="parameters")


def curves(found: dict[str, list[Found]], counts: tuple[int, ...], finite: Tensor) -> Figure:
    """Nats and distances against the number of parameters, and a VAE as a mixture of more and more Gaussians."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    by_nats, by_distance, grows = figure.subplots(1, 3)
    against_size(by_nats, found, "test", "train")
    by_nats.set(title="Density: lower is better", ylabel="-log p(x), nats per image")
    by_nats.set_ylim(top=by_nats.get_ylim()[1] + 130)  # room for the legend
    against_size(by_distance, found, "means", "drawn")
    seen = found[NETWORK]
    style = {"color": COLOURS[1], "label": f"{NETWORK}: means at the codes of test images"}
    by_distance.plot([model.parameters for model in seen], [model.codes for model in seen], "s:", **style)
    by_distance.set(title="Samples: lower is better", ylabel="Fréchet distance to test images", ylim=(0, 80))
    nats_of_mixtures = [model.test for model in found[MIXTURE]]
    grows.plot(counts, nats_of_mixtures, "o-", color=COLOURS[0], label="mixture of K fitted Gaussians")
    grows.plot(range(1, len(finite) + 1), finite, color=COLOURS[1], label="K draws of the largest VAE's Gaussians")
    limit = found[NETWORK][-1].test
    grows.axhline(limit, color=COLOURS[1], ls=":", label="the largest VAE: all its Gaussians")
    grows.set(title="A VAE as a finite mixture", xscale="log", xlabel="Gaussians", ylabel="-log p(x), nats per image")
    grows.set_ylim(min(limit, *nats_of_mixtures) - 130, max(nats_of_mixtures) + 100)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure


def numbers_of(name: str, found: Found, theory: float | None) -> list[Number]:
    """`theory`: of the nats of test images."""
    return [
        Number(f"{name}, {found.parameters:,} parameters: {what}", value, theory if field == "test" else None)
        for field, what in MEASURED.items()
        if (value := getattr(found, field)) is not None
    ]


def run(quick: bool) -> Result:
    """Mixtures and VAEs of equal size; then the largest VAE as a finite mixture."""
    plan, data = QUICK if quick else FULL, mnist_small()
    torch.manual_seed(0)
    judge, train = Judge(data), to_float(data.train.images[: 500 if quick else None])
    test = to_float(data.test.images[:: len(data.test) // plan.images])
    numbers, found, rows = [], {MIXTURE: [], NETWORK: []}, {"test images": test}

    def add(name: str, model: GMM | VAE, title: str) -> None:
        means, drawn = samples(model, plan.samples)
        size = sum(parameter.numel() for parameter in model.parameters())
        likelihoods = [nats(model, images, plan.draws) for images in (test, train[: plan.images])]
        seen = judge.distance(model.reconstruct(to_float(data.test.images))) if isinstance(model, VAE) else None
        found[name].append(Found(size, *likelihoods, judge.distance(means), judge.distance(drawn), seen))
        theory = one_gaussian(train, test) if title == "K = 1" else None
        numbers.extend(numbers_of(name, found[name][-1], theory))
        rows[title] = means

    for count in plan.counts:
        add(MIXTURE, mixture(train, count, plan.iterations), f"K = {count}")
    for count, (steps, rate) in plan.networks.items():
        model = vae(train, PER_COMPONENT * count, steps, rate)
        add(NETWORK, model, f"VAE of the size of K = {count}")
    finite, limit = as_finite_mixture(model, test, plan.finite), found[NETWORK][-1].test
    numbers.append(Number(f"the largest VAE as {plan.finite:,} Gaussians, nats; as all", float(finite[-1]), limit))
    return numbers, {"pictures": pictures(rows), "curves": curves(found, plan.counts, finite)}


if __name__ == "__main__":
    main(__file__, run)
