"""Lesson 9: the networks that a lecture text spells out, what goes wrong, and what mends it.

docs/lessons/09_text_networks.md
"""

import math
from typing import Any, NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.figure import Figure
from torch import Tensor, nn

import lightning_gen as lg
from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.data.loader import Batch
from lightning_gen.data.sources.mnist_small import mnist_small

SIDE = 64
NARROW = (  # a quarter of the widths, so that a step takes a tenth of a second
    "networks.encoder.widths=[256,128,64,32,16]",
    "networks.decoder.dense=[64,32,16]",
    "networks.decoder.widths=[32,64]",
)
GANS = {  # by what is changed
    "as the text says": (),
    "He's initial weights": ("networks.init=he",),
    "and batch norm": ("networks.init=he", "networks.decoder.norm=batch"),
}
VAES = {
    "cross entropy": (),
    "squared error": ("model/likelihood=gaussian", "~model.likelihood.binarize", "model.likelihood.learned=false"),
    "optimal sigma": ("model/likelihood=optimal_gaussian", "~model.likelihood.binarize"),
}


def recipe(name: str, *overrides: str) -> Any:
    """The model of experiment=NAME with these overrides."""
    torch.manual_seed(0)
    return build_model(compose([f"experiment={name}", *overrides]), (1, SIDE, SIDE))


def images_of(part: str, count: int) -> Tensor:
    """The first digits of the `train` or `test` part at 64x64, in [0, 1]."""
    images = getattr(mnist_small(), part).images[:count].float() / 255
    return nn.functional.interpolate(images, (SIDE, SIDE), mode="bilinear")


# -- the signal at the start -----------------------------------------------------------------------------------


def correlation(before: float) -> float:
    """The correlation of a ReLU's outputs, about 0, for normal inputs with this one (Cho & Saul 2009, eq. 6)."""
    angle = math.acos(before)
    return (math.sin(angle) + (math.pi - angle) * before) / math.pi


def expected_spread(factors: list[float]) -> float:
    """The standard deviation over codes of the raw images of a wide ReLU network, from each layer's second moments.

    A layer multiplies the second moment of its inputs by its factor, and a ReLU halves it. Codes are independent, but
    with each ReLU the values of any two codes become more alike: only the part that differs counts.
    """
    moment, alike = 1.0, 0.0
    for i, factor in enumerate(factors):
        moment *= factor
        if i < len(factors) - 1:
            moment, alike = moment / 2, correlation(alike)
    return math.sqrt(moment * (1 - alike))


def factors_of(generator: nn.Module) -> list[float]:
    """The factors with PyTorch's initial weights, U(-b, b) with b^2 = 1 / fan in: their variance is b^2 / 3.

    PyTorch takes out * kernel^2 as the fan in of a transposed convolution. In fact (kernel / stride)^2 * in values
    meet in a pixel.
    """
    found = []
    for layer in generator.modules():
        if isinstance(layer, nn.Linear):
            found.append(1 / 3)
        elif isinstance(layer, nn.ConvTranspose2d):
            kernel, stride = layer.kernel_size[0], layer.stride[0]
            found.append((kernel / stride) ** 2 * layer.in_channels / (3 * layer.out_channels * kernel**2))
    return found


@torch.no_grad()
def spread(generator: nn.Module, codes: Tensor) -> float:
    """The standard deviation over codes of the raw images, of the mean variance over pixels."""
    return float(generator(codes).var(dim=0).mean().sqrt())


def at_the_start(images: Tensor) -> list[Number]:
    """How far the networks of full width tell codes and images apart before training."""
    codes, numbers = torch.randn(64, 100), []
    for name in ("as the text says", "He's initial weights"):
        model = recipe("text_gan", *GANS[name])
        he = name != "as the text says"
        factors = [2.0] * 6 if he else factors_of(model.generator)
        with torch.no_grad():
            logits = model.discriminator(images[:64])
        numbers += [
            Number(
                f"start, {name}: spread of raw images over codes",
                spread(model.generator, codes),
                expected_spread(factors),
            ),
            Number(f"start, {name}: spread of D's logits over images", float(logits.std())),
        ]
    return numbers


# -- short trainings -------------------------------------------------------------------------------------------


def fit_gan(model: Any, images: Tensor, steps: int) -> None:
    optimizers = [phase.optimizer() for phase in model.phases]
    for step in range(steps):
        model.noise.start(step)
        batch = Batch(images[torch.randint(len(images), (64,))], None)
        for phase, optimizer in zip(model.phases, optimizers, strict=True):
            model.zero_grad()
            phase.loss(batch, step).backward()
            optimizer.step()


def fit_vae(model: Any, images: Tensor, steps: int) -> None:
    optimizer = model.configure_optimizers()
    for step in range(steps):
        model.noise.start(step)
        loss = model.loss(model.terms(Batch(images[torch.randint(len(images), (64,))], None), model.noise)).mean()
        model.zero_grad()
        loss.backward()
        optimizer.step()


def distance(samples: Tensor, real: Tensor) -> float:
    """The Frechet distance in the features of the classifier of digits, at its 28x28."""
    small = (nn.functional.interpolate(part, (28, 28), mode="area") for part in (samples, real))
    return lg.frechet_distance(*small, "classifier", "mnist_small")


class Row(NamedTuple):
    """A trained model: samples and, for a VAE, reconstructions."""

    name: str
    samples: Tensor


def gans(train: Tensor, test: Tensor, steps: int) -> tuple[list[Row], list[Number]]:
    rows, numbers = [], []
    for name, overrides in GANS.items():
        model = recipe("text_gan", *NARROW, *overrides)
        fit_gan(model, train, steps)
        samples = model.eval().sample(len(test), torch.Generator().manual_seed(0))
        rows.append(Row(name, samples[:12]))
        numbers += [
            Number(f"GAN, {name}: Frechet distance after {steps} steps", distance(samples, test)),
            Number(
                f"GAN, {name}: spread of samples; of real images", *(float(x.std(0).mean()) for x in (samples, test))
            ),
        ]
    return rows, numbers


@torch.no_grad()
def vae_numbers(name: str, model: Any, test: Tensor, steps: int) -> list[Number]:
    metrics = model.test_metrics(Batch(test, None), model.noise)
    means = {key: float(value.mean()) for key, value in metrics.items()}
    active = int((model.posterior_of(test).mean.var(dim=0) > 0.01).sum())
    samples = model.sample(len(test), torch.Generator().manual_seed(0))
    return [
        Number(f"VAE, {name}: squared error of an image after {steps} steps", means["squared_error"]),
        Number(f"VAE, {name}: KL(q(z|x) || p(z))", means["kl"]),
        Number(f"VAE, {name}: active dimensions of 100", active),
        Number(f"VAE, {name}: Frechet distance", distance(samples, test)),
    ]


def vaes(train: Tensor, test: Tensor, steps: int) -> tuple[list[Row], list[Number]]:
    rows, numbers = [Row("held-out digits", test[:12])], []
    for name, overrides in VAES.items():
        model = recipe("text_vae", *overrides)
        fit_vae(model, train, steps)
        rows.append(Row(f"{name}: reconstructions", model.reconstruct(test[:12])))
        rows.append(Row(f"{name}: samples", model.sample(12, torch.Generator().manual_seed(0))))
        numbers += vae_numbers(name, model, test, steps)
    greys = test.double()
    floor = (torch.special.entr(greys) + torch.special.entr(1 - greys)).flatten(1).sum(dim=1).mean()
    return rows, [*numbers, Number("VAE: the cross entropy of perfect reconstructions", float(floor))]


def draw(rows: list[Row], title: str) -> Figure:
    figure = Figure(figsize=(9, 0.55 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title)
    for axes, (name, images) in zip(figure.subplots(len(rows), 1), rows, strict=True):
        strip = torch.cat(list(nn.functional.pad(images, (0, 2, 0, 0), value=1)[:, 0]), dim=1)
        axes.imshow(strip, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name.replace(": ", ":\n"), rotation=0, ha="right", va="center", size=9)
    return figure


def run(quick: bool) -> Result:
    train, test = images_of("train", 100 if quick else 10_000), images_of("test", 40 if quick else 500)
    numbers = at_the_start(train)
    steps = (1, 1) if quick else (100, 50)
    rows, more = gans(train, test, steps[0])
    figures = {"gan": draw(rows, f"Samples of the text's GAN at a quarter of its widths, after {steps[0]} steps")}
    rows, others = vaes(train, test, steps[1])
    figures["vae"] = draw(rows, f"The text's VAE after {steps[1]} steps")
    return [*numbers, *more, *others], figures


if __name__ == "__main__":
    main(__file__, run)
