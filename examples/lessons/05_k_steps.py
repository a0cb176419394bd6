"""Lesson 5: how many steps of the discriminator for one of the generator? docs/lessons/05_k_steps.md

k = 1, 2, 5 and 20, on eight Gaussians on a ring and on digits.
"""

import copy
import math
import time
from functools import partial
from typing import NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_gen.data.imageset import ImageSet, Modes, Splits
from lightning_gen.data.loader import Batch
from lightning_gen.data.sources.mnist_small import mnist_small
from lightning_gen.data.sources.points import gaussians
from lightning_gen.metrics.class_metrics import class_balance
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.points import mode_metrics
from lightning_gen.models.gan import GAN
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.adversarial import NonSaturating, jensen_shannon
from lightning_gen.pictures import to_float, to_uint8
from lightning_gen.pictures.charts import COLOURS

STEPS_OF_D = (1, 2, 5, 20)
MOST = math.log(2)  # the largest Jensen-Shannon divergence, in nats


class Plan(NamedTuple):
    """How much is done on one data set."""

    width: int  # of the networks' layers
    batch: int
    code: int
    updates: int  # of the generator
    every: int  # updates between two looks
    to_the_end: int  # updates of the discriminator alone, at the end
    judged: int  # samples, and held-out images


RING = {False: Plan(64, 128, 2, 600, 60, 1500, 2000), True: Plan(16, 32, 2, 20, 20, 20, 1000)}
DIGITS = {False: Plan(128, 64, 16, 500, 50, 500, 2000), True: Plan(16, 32, 2, 4, 4, 4, 500)}


class Look(NamedTuple):
    """One moment of a training."""

    update: int  # of the generator
    seconds: float
    estimate: float  # of the Jensen-Shannon divergence by the discriminator, in nats
    quality: float  # modes found, or the Frechet distance of samples


class Played(NamedTuple):
    """One training, and what holds at its end."""

    looks: list[Look]
    best: float  # the estimate of a discriminator that was trained on, with this generator
    found: float  # modes or classes
    samples: Tensor  # [N, C, H, W]


def adam(parameters: object) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, 1e-3, betas=(0.5, 0.9))  # type: ignore[arg-type]


def make(shape: tuple[int, int, int], plan: Plan) -> GAN:
    torch.manual_seed(0)
    encoder, decoder = (partial(kind, widths=[plan.width] * 2) for kind in (MLPEncoder, MLPDecoder))
    gan = GAN(shape, encoder, decoder, adam, adam, NonSaturating(), latent_dim=plan.code)
    gan.logging = False
    return gan


class Batches:
    """Random training batches, and the noise of each update."""

    def __init__(self, gan: GAN, images: Tensor, size: int) -> None:
        self.gan, self.images, self.size = gan, images, size
        self.generator, self.drawn = torch.Generator().manual_seed(0), 0

    def __call__(self) -> Batch:
        self.gan.noise.start(self.drawn)
        self.drawn += 1
        return Batch(self.images[torch.randint(len(self.images), (self.size,), generator=self.generator)], None)


def update(loss: Tensor, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    network.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def estimate(gan: GAN, held_out: Tensor) -> float:
    """The divergence between samples and held-out images, as the discriminator measures it; at least 0."""
    samples = gan.sample(len(held_out), torch.Generator().manual_seed(2))
    logits = [gan.classify(images, None).logits for images in (held_out, samples)]
    return max(float(jensen_shannon(*logits)), 0.0)


def play(data: Splits, plan: Plan, k: int, judge: "Judge") -> Played:
    """Algorithm 1 of Goodfellow et al. 2014, with k updates of the discriminator for one of the generator."""
    images, held_out = to_float(data.train.images), to_float(data.test.images[: plan.judged])
    gan = make(data.train.image_shape, plan)
    optimizers = adam(gan.discriminator.parameters()), adam(gan.generator.parameters())
    batch, looks, seconds = Batches(gan, images, plan.batch), [], 0.0
    for step in range(plan.updates + 1):
        if step % plan.every == 0:
            samples = gan.sample(plan.judged, torch.Generator().manual_seed(1))
            looks.append(Look(step, seconds, estimate(gan, held_out), judge.quality(samples)))
        start = time.process_time()
        for _ in range(k):
            update(gan.discriminator_loss(batch(), step), optimizers[0], gan.discriminator)
        update(gan.generator_loss(batch(), step), optimizers[1], gan.generator)
        seconds += time.process_time() - start
    judged = copy.deepcopy(gan)
    optimizer, batch = adam(judged.discriminator.parameters()), Batches(judged, images, plan.batch)
    for step in range(plan.to_the_end):
        update(judged.discriminator_loss(batch(), step), optimizer, judged.discriminator)
    return Played(looks, estimate(judged, held_out), judge.found(samples), samples)


class Judge:
    """Judges points by the modes that they reach."""

    def __init__(self, data: ImageSet) -> None:
        assert isinstance(data.modes, Modes)
        self.modes = data.modes

    def quality(self, samples: Tensor) -> float:
        return self.found(samples)

    def found(self, samples: Tensor) -> float:
        return mode_metrics(samples.flatten(1), self.modes.centres, self.modes.std)["modes_found"]


class ClassifierJudge(Judge):
    """Judges digits by the features and the classes of a classifier."""

    def __init__(self, data: ImageSet) -> None:
        self.extractor = build_extractor("classifier", dataset="mnist_small", images=data.images)
        self.labels = data.labels
        self.real = Moments.of(features_of(to_float(data.images), self.extractor))

    def quality(self, samples: Tensor) -> float:
        return frechet_distance(Moments.of(features_of(samples, self.extractor)), self.real)

    def found(self, samples: Tensor) -> float:
        features = features_of(samples, self.extractor)
        seen = self.extractor.logits_from_features(features).argmax(1)  # type: ignore[operator]
        assert self.labels is not None
        return 10.0 - class_balance(seen, self.labels, 10)[1]


@torch.no_grad()
def features_of(images: Tensor, extractor: FeatureExtractor) -> Tensor:
    """Features [N, 64] of images rounded to 8 bits."""
    return torch.cat([extractor(to_float(part)) for part in to_uint8(images).split(500)])


# -- pictures --------------------------------------------------------------------------------------------------


def draw(found: dict[int, Played], title: str, quality: str) -> Figure:
    """The estimate of the divergence and the quality of samples, over updates and over seconds."""
    made = Figure(figsize=(10, 6.6), layout="constrained")
    made.suptitle(title, weight="bold", x=0.01, ha="left")
    panels = made.subplots(2, 2, sharex="col", sharey="row")
    for colour, (k, played) in zip(COLOURS, found.items(), strict=False):
        looks = played.looks[1:]
        for column, across in zip(panels.T, ("update", "seconds"), strict=True):
            x = [getattr(look, across) for look in looks]
            for axes, field in zip(column, ("estimate", "quality"), strict=True):
                axes.plot(
                    x,
                    [getattr(look, field) for look in looks],
                    color=colour,
                    marker="o",
                    markersize=3,
                    label=f"k = {k}",
                )
        panels[0, 0].plot(looks[-1].update, played.best, marker="*", markersize=11, color=colour, clip_on=False)
    panels[0, 0].set_ylabel("Jensen-Shannon divergence\nas the discriminator measures it (nats)")
    panels[1, 0].set_ylabel(quality)
    for axes, name in zip(panels[1], ("updates of the generator", "CPU seconds"), strict=True):
        axes.set_xlabel(name)
    panels[0, 1].legend(frameon=False)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    for axes in panels[0]:
        limit(axes)
    return made


def limit(axes: Axes) -> None:
    axes.axhline(MOST, color="black", linewidth=1, linestyle=":")
    axes.annotate("log 2", (0, MOST), xytext=(2, 3), textcoords="offset points")


def draw_points(found: dict[int, Played], data: ImageSet) -> Figure:
    """The samples at the end."""
    made = Figure(figsize=(10, 3.3), layout="constrained")
    made.suptitle("Samples on the ring after equally many updates of the generator", weight="bold", x=0.01, ha="left")
    real = data.images[:2000].flatten(1)
    for axes, (k, played) in zip(made.subplots(1, len(found)), found.items(), strict=True):
        axes.scatter(*real.T, s=3, color=COLOURS[3], label="data")
        axes.scatter(*played.samples.flatten(1).T, s=3, color=COLOURS[2], alpha=0.4, label="samples")
        axes.set(title=f"k = {k}: {played.found:.0f} of 8 modes", aspect="equal", xlim=(0, 1), ylim=(0, 1))
        axes.set_axis_off()
    made.axes[0].legend(frameon=False, loc="center", markerscale=3)
    return made


def numbers_of(name: str, found: dict[int, Played], most: float, quality: str) -> list[Number]:
    numbers = []
    for k, played in found.items():
        last, where = played.looks[-1], f"{name}, k = {k}: "
        numbers += [
            Number(where + "divergence by the discriminator, nats", last.estimate, played.best),
            Number(where + "modes or classes found", played.found, most),
            Number(where + "CPU seconds", last.seconds),
        ]
        numbers += [Number(where + quality, last.quality)] if quality else []
    return numbers


def run(quick: bool) -> Result:
    ring, digits = gaussians(None, num_points=20_000, num_test=2000), mnist_small()  # type: ignore[arg-type]
    judge = Judge(ring.train)
    of_ring = {k: play(ring, RING[quick], k, judge) for k in STEPS_OF_D}
    judge = ClassifierJudge(digits.test)
    of_digits = {k: play(digits, DIGITS[quick], k, judge) for k in STEPS_OF_D}
    numbers = numbers_of("ring", of_ring, 8, "") + numbers_of("digits", of_digits, 10, "Fréchet distance")
    figures = {
        "ring": draw(of_ring, "Eight Gaussians on a ring", "modes found, of 8"),
        "samples": draw_points(of_ring, ring.train),
        "digits": draw(of_digits, "Digits", "Fréchet distance of samples"),
    }
    return numbers, figures


if __name__ == "__main__":
    main(__file__, run)
