"""Lesson 7: does a VAE only replay its data? docs/lessons/07_replay.md

An autoencoder, a VAE, a GAN and a Gaussian mixture learn 500, 5,000 and 50,000 digits. Their samples are compared
with the training images, and so are held-out images, which nobody can have copied, and copies of training images.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_gen.data.imageset import Decoding, Splits
from lightning_gen.data.loader import Batch
from lightning_gen.data.sources.mnist_small import mnist_small
from lightning_gen.data.sources.vision import mnist
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.memorization import Nearness, memorization, nearest_in_pixels
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.expectation_maximization import iterate, start
from lightning_gen.models.gan import GAN
from lightning_gen.models.gmm import GMM
from lightning_gen.models.vae import VAE
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.adversarial import NonSaturating
from lightning_gen.objectives.likelihoods import Bernoulli
from lightning_gen.objectives.penalties import R1
from lightning_gen.pictures import to_float, to_uint8
from lightning_gen.pictures.charts import COLOURS

SHAPE, CODE, BATCH = (1, 28, 28), 16, 64
ENCODER, DECODER = (partial(kind, widths=[256, 256]) for kind in (MLPEncoder, MLPDecoder))
NEIGHBOURS = 10  # training images whose linear combinations are tried
COMBINED = 500  # images for which they are tried
NOISE = 0.05  # standard deviation of the noise of a copy
Sampler = Callable[[int], Tensor]  # how many -> images [N, 1, 28, 28] in [0, 1]


class Plan(NamedTuple):
    """How much is done."""

    sizes: tuple[int, ...]  # training images
    steps: int  # of training, of the networks
    samples: int
    components: int  # of the mixture
    iterations: int  # of expectation maximization


FULL, QUICK = Plan((500, 5000, 50_000), 4000, 2000, 50, 20), Plan((100, 300), 60, 200, 5, 3)


# -- the models ------------------------------------------------------------------------------------------------


def train(
    model: GenerativeModel, players: dict[nn.Module, Callable[[Batch, int], Tensor]], images: Tensor, steps: int
) -> Sampler:
    """Minimize the loss of each player in turn, with Adam and a rate that falls to 0; samples from the model."""
    model.logging = False
    optimizers = [torch.optim.Adam(network.parameters(), 2e-3, betas=(0.0, 0.9)) for network in players]
    drawn = torch.Generator().manual_seed(0)
    for step in range(steps):
        model.noise.start(step)
        batch = Batch(images[torch.randint(len(images), (BATCH,), generator=drawn)], None)
        for (network, loss), optimizer in zip(players.items(), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
            network.zero_grad()
            loss(batch, step).backward()
            optimizer.step()
    model.eval()
    model.fit_density(lambda: [Batch(part, None) for part in images.split(1000)])
    return partial(drawn_from, model)


def drawn_from(model: GenerativeModel, count: int) -> Tensor:
    return model.sample(count, torch.Generator().manual_seed(1)).float()


def autoencoder(images: Tensor, plan: Plan) -> Sampler:
    model = Autoencoder(SHAPE, ENCODER, DECODER, torch.optim.Adam, latent_dim=CODE)
    return train(model, {model: lambda batch, _: model.image_losses(batch, model.noise).mean()}, images, plan.steps)


def vae(images: Tensor, plan: Plan) -> Sampler:
    model = VAE(SHAPE, ENCODER, DECODER, torch.optim.Adam, Bernoulli(), latent_dim=CODE)
    return train(model, {model: lambda batch, _: model.image_losses(batch, model.noise).mean()}, images, plan.steps)


def gan(images: Tensor, plan: Plan) -> Sampler:
    adam, penalty = torch.optim.Adam, {"r1": R1(weight=0.5, interval=8)}
    model = GAN(SHAPE, ENCODER, DECODER, adam, adam, NonSaturating(), penalty, latent_dim=CODE)
    players = {model.discriminator: model.discriminator_loss, model.generator: model.generator_loss}
    return train(model, players, images, plan.steps)


def mixture(images: Tensor, plan: Plan) -> Sampler:
    """Gaussians with full covariances over 50 principal components, by expectation maximization."""
    model = GMM(SHAPE, torch.optim.Adam, components=plan.components, min_sigma=0.03)
    model.space.fit(images, model.min_variance)
    codes = model.space.codes(images)
    start(model.mixture, codes, model.min_variance, "kmeans", seed=0)
    for _ in range(plan.iterations):
        iterate(model.mixture, codes, model.min_variance)
    return partial(drawn_from, model)


def copies(images: Tensor, plan: Plan) -> Sampler:
    """Training images with a little noise: what replaying looks like."""
    drawn = torch.Generator().manual_seed(1)

    def sample(count: int) -> Tensor:
        some = images[torch.randint(len(images), (count,), generator=drawn)]
        return (some + NOISE * torch.randn(some.shape, generator=drawn)).clamp(0, 1)

    return sample


MODELS = {"AE": autoencoder, "VAE": vae, "GAN": gan, "mixture": mixture, "copies": copies}


# -- what is measured ------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """How samples, or held-out images in their place, stand to the training images."""

    authentic: float  # percentage of authentic images
    ratio: float  # median distance to the nearest training image, over that of held-out images
    to_train: float  # Frechet distances
    to_test: float
    unexplained: float  # percentage of an image that no linear combination of its nearest training images explains


@torch.no_grad()
def features_of(images: Tensor, extractor: FeatureExtractor) -> Tensor:
    """Features [N, 64] of images rounded to 8 bits."""
    return torch.cat([extractor(to_float(part)) for part in to_uint8(images).split(500)])


def unexplained(images: Tensor, train: Tensor) -> float:
    """The mean of 100 ||x - A w||^2 / ||x||^2: A the nearest training images, w the weights that fit best."""
    x, pool = images[:COMBINED].flatten(1), train.flatten(1)
    index = torch.cdist(x, pool).topk(NEIGHBOURS, largest=False).indices
    basis = pool[index].transpose(1, 2)  # [N, 784, 10]
    weights = torch.linalg.lstsq(basis, x.unsqueeze(2)).solution
    return 100 * float(((basis @ weights).squeeze(2) - x).square().sum(1).div(x.square().sum(1)).mean())


def measured(images: Tensor, train: Tensor, known: tuple[Tensor, Tensor], extractor: FeatureExtractor) -> Found:
    """`known`: the features of the training images and of held-out images."""
    own, (of_train, of_test) = features_of(images, extractor), known
    scores = memorization(Nearness.of(own, of_train), Nearness.of(of_test, of_train))
    distances = [frechet_distance(Moments.of(own), Moments.of(side)) for side in known]
    return Found(scores["auth_pct"], scores["nearest_train_ratio"], *distances, unexplained(images, train))


# -- pictures --------------------------------------------------------------------------------------------------

PANELS = {
    "authentic": "Authentic samples (%)",
    "ratio": "Distance to the nearest training image,\nrelative to held-out images",
    "to_test": "Fréchet distance to held-out images (solid)\nand to training images (dashed)",
    "unexplained": "Part of a sample that its ten nearest\ntraining images do not explain (%)",
}


def curves(found: dict[tuple[str, int], Found], sizes: tuple[int, ...]) -> Figure:
    """Each measure against the number of training images."""
    made = Figure(figsize=(10, 7.4), layout="constrained")
    made.suptitle("Do samples replay the training images?", weight="bold", x=0.01, ha="left")
    for axes, (field, title) in zip(made.subplots(2, 2).flat, PANELS.items(), strict=True):
        for colour, name in zip(COLOURS, MODELS, strict=False):
            draw(axes, [found[name, size] for size in sizes], field, sizes, color=colour, marker="o", label=name)
        real = [found["held-out", size] for size in sizes]
        style = {"color": "black", "linestyle": ":", "label": "held-out images"}
        axes.plot(sizes, [one.to_train if field == "to_test" else getattr(one, field) for one in real], **style)
        axes.set(title=title, xlabel="training images", xscale="log", xticks=sizes)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    made.legend(*made.axes[0].get_legend_handles_labels(), frameon=False, ncols=6, loc="outside lower center")
    return made


def draw(axes: Axes, found: list[Found], field: str, sizes: tuple[int, ...], **style: object) -> None:
    axes.plot(sizes, [getattr(one, field) for one in found], **style)
    if field == "to_test":
        axes.plot(sizes, [one.to_train for one in found], **{**style, "linestyle": "--", "label": None})


def pairs(samples: dict[str, Tensor], train: Tensor, count: int = 12) -> Figure:
    """Samples of each model over their nearest training images, by pixels."""
    made = Figure(figsize=(8, 1.6 * len(samples)), layout="constrained")
    made.suptitle(
        f"Samples (above) and the nearest of {len(train):,} training images (below)", weight="bold", x=0.01, ha="left"
    )
    for axes, (name, images) in zip(made.subplots(len(samples), 1).flat, samples.items(), strict=True):
        _, index = nearest_in_pixels(images[:count], to_uint8(train))
        rows = [torch.cat(list(side[:count, 0]), dim=1) for side in (images, train[index])]
        axes.imshow((1 - torch.cat(rows)).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.axhline(27.5, color=COLOURS[0], linewidth=1)
        axes.set(xticks=[], yticks=[], ylabel=name)
    return made


def numbers_of(found: dict[tuple[str, int], Found]) -> list[Number]:
    """Beside each number that of held-out images, which is what a model that only generalizes would have."""
    numbers = []
    for (name, size), one in found.items():
        if name == "held-out":
            continue
        real, where = found["held-out", size], f"{name}, {size:,} images: "
        numbers += [
            Number(where + "authentic, %", one.authentic, real.authentic),
            Number(where + "distance to the nearest, relative", one.ratio, 1.0),
            Number(where + "Fréchet distance to train", one.to_train, real.to_train),
            Number(where + "Fréchet distance to test", one.to_test, real.to_train),
            Number(where + "unexplained part, %", one.unexplained, real.unexplained),
        ]
    return numbers


def digits(quick: bool) -> Splits:
    return mnist_small() if quick else mnist(Decoding(), os.environ.get("LIGHTNING_GEN_DATA", "data"))


def run(quick: bool) -> Result:
    plan, data = QUICK if quick else FULL, digits(quick)
    torch.manual_seed(0)
    extractor = build_extractor("classifier", dataset="mnist", images=data.train.images)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: plan.sizes[-1]]
    everything = to_float(data.train.images[order])
    held_out = to_float(data.test.images[:: len(data.test) // plan.samples])
    features, of_test = features_of(everything, extractor), features_of(held_out, extractor)
    found: dict[tuple[str, int], Found] = {}
    shown: dict[str, Tensor] = {}
    for size in plan.sizes:
        train_images, known = everything[:size], (features[:size], of_test)
        found["held-out", size] = measured(held_out, train_images, known, extractor)
        for name, learn in MODELS.items():
            samples = learn(train_images, plan)(plan.samples)
            found[name, size] = measured(samples, train_images, known, extractor)
            shown |= {name: samples} if size == plan.sizes[0] else {}
    return numbers_of(found), {
        "curves": curves(found, plan.sizes),
        "pairs": pairs(shown, everything[: plan.sizes[0]]),
    }


if __name__ == "__main__":
    main(__file__, run)
