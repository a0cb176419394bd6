"""Lesson 6: a latent without noise, noise without a latent, and why reparameterization. docs/lessons/06_gradients.md

Two unbiased estimators of the gradient of E_q[f(z)], on an expectation that is known and on the encoder of a VAE; and
four ways to train that VAE.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.figure import Figure
from torch import Tensor

import lightning_gen as lg
from lightning_gen.data.loader import Batch
from lightning_gen.data.sources.digits import digits
from lightning_gen.models.vae import VAE
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.bounds import ELBO
from lightning_gen.objectives.likelihoods import BRIGHTNESS_LIMITS, Bernoulli
from lightning_gen.objectives.posteriors import DiagonalGaussian
from lightning_gen.pictures.charts import COLOURS
from lightning_gen.randomness import StepNoise, Stream, mix

NOISE = StepNoise(mix(0, Stream.TRAINING))

# -- a known expectation ---------------------------------------------------------------------------------------

MEAN, SIGMA = 1.0, 1.0  # q(z) = N(MEAN, SIGMA^2) in each dimension; f(z) = |z|^2; the gradient by each mean is 2 MEAN
ESTIMATORS = ("pathwise", "score", "score, baseline")


def gradients(size: int, draws: int) -> dict[str, Tensor]:
    """The gradient of E_q |z|^2 by the means, from one draw each: [draws, Z] by estimator."""
    mean = torch.full((draws, size), MEAN).requires_grad_()  # each draw has its own copy of the means
    q = DiagonalGaussian(mean, torch.full((draws, size), 2 * math.log(SIGMA)))
    latents, _ = q.draw(torch.randn(1, draws, size))
    value = latents.square().sum(dim=-1)
    (pathwise,) = torch.autograd.grad(value.sum(), mean, retain_graph=True)
    (score,) = torch.autograd.grad(q.log_prob(latents.detach()).sum(), mean)  # of log q
    baseline = size * (MEAN**2 + SIGMA**2) + 2 * SIGMA**2  # the best constant, E[f s^2] / E[s^2] with s the score
    value = value.detach().squeeze(0).unsqueeze(1)
    return dict(zip(ESTIMATORS, (pathwise, value * score, (value - baseline) * score), strict=True))


def variances(size: int) -> dict[str, float]:
    """The variances of these gradients in closed form, from the moments of a normal distribution up to the sixth."""
    m, v, others = MEAN**2, SIGMA**2, size - 1
    rest = others * (m + v)  # the mean of |z|^2 without one dimension
    square = others * (4 * m * v + 2 * v**2) + rest**2
    score = square + 2 * rest * (m + 3 * v) + m**2 + 18 * m * v + 15 * v**2
    centred = score - (rest + m + 3 * v) ** 2
    return dict(zip(ESTIMATORS, (4 * v, score / v - 4 * m, centred / v - 4 * m), strict=True))


def known(sizes: list[int], draws: int) -> tuple[dict[str, list[float]], list[Number]]:
    """The measured variances at each size, and the numbers of the largest."""
    measured: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for size in sizes:
        found = gradients(size, draws)
        for name, gradient in found.items():
            measured[name].append(float(gradient.var(dim=0).mean()))
    largest, theory = sizes[-1], variances(sizes[-1])
    numbers = []
    for name in ESTIMATORS:
        numbers += [
            Number(f"known, Z = {largest}, {name}: mean of the gradient", float(found[name].mean()), 2 * MEAN),
            Number(f"known, Z = {largest}, {name}: variance", measured[name][-1], theory[name]),
        ]
    ratio = measured["score"][-1] / measured["pathwise"][-1]
    return measured, [
        *numbers,
        Number(f"known, Z = {largest}: score over pathwise", ratio, theory["score"] / theory["pathwise"]),
    ]


# -- a VAE of digits -------------------------------------------------------------------------------------------

WAYS = {  # of training, and their colours
    "pathwise": COLOURS[0],
    "score, baseline": COLOURS[1],
    "score": COLOURS[2],
    "cut": COLOURS[4],
    "no noise": COLOURS[3],
}


def new_vae() -> VAE:
    torch.manual_seed(0)
    encoder, decoder = (partial(network, widths=[128]) for network in (MLPEncoder, MLPDecoder))
    return VAE((1, 8, 8), encoder, decoder, torch.optim.Adam, Bernoulli(), objective=ELBO(), latent_dim=8)


def objective(model: VAE, images: Tensor, way: str) -> Tensor:
    """A number whose gradient is the estimate, for `way`, of the gradient of the negative bound.

    The score function's estimate by one draw is log p(x|z) times the gradient of log q(z|x), where z is a constant.
    The baseline of an image is the mean log p(x|z) of the others. `cut`: z is a constant and nothing replaces its
    gradient. `no noise`: an autoencoder, z is the mean and there is no divergence.
    """
    q = model.posterior_of(images)
    latents = q.mean.unsqueeze(0)
    if way != "no noise":
        latents = q.latents_of(NOISE.normal((1, len(images), model.latent_dim), images.device))
    if way not in ("pathwise", "no noise"):
        latents = latents.detach()
    likelihood = model.log_likelihood(latents, images)[0]
    if way == "no noise":
        return -likelihood.mean()
    bound = likelihood - q.standard_normal_kl().sum(dim=1)
    if way.startswith("score"):
        reward = likelihood.detach()
        if way == "score, baseline":
            reward = (reward - reward.mean()) * len(reward) / (len(reward) - 1)  # minus the mean of the others
        bound = bound + reward * q.log_prob(latents)[0]
    return -bound.mean()


class Trained(NamedTuple):
    """A VAE, and its bound on the held-out images every so many steps."""

    model: VAE
    bounds: list[float]


@torch.no_grad()
def held_out(model: VAE, images: Tensor) -> tuple[float, float]:
    """The bound and the divergence KL(q(z|x) || p(z)), means over the images, in nats."""
    parts = model.parts(model.terms(Batch(images, None), NOISE))
    return float(parts["elbo"].mean()), float(parts["kl"].mean())


def trained(way: str, train: Tensor, test: Tensor, steps: int, every: int) -> Trained:
    model, bounds = new_vae(), []
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps + 1):
        if step % every == 0:
            bounds.append(held_out(model, test)[0])
        loss = objective(model, train[torch.randint(len(train), (64,))], way)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Trained(model, bounds)


def encoder_gradients(model: VAE, images: Tensor, way: str, draws: int) -> tuple[Tensor, float]:
    """The mean over draws of the gradient by all weights of the encoder, and its variance summed over the weights."""
    weights = [*model.encoder.parameters(), *model.posterior.parameters()]
    found = []
    for _ in range(draws):
        parts = torch.autograd.grad(objective(model, images, way), weights)
        found.append(torch.cat([part.flatten() for part in parts]))
    rows = torch.stack(found)
    return rows.mean(dim=0), float(rows.var(dim=0).sum())


def on_the_encoder(model: VAE, images: Tensor, draws: int) -> list[Number]:
    """Whether the estimators agree, and their variances.

    The squared distance between the means of two independent unbiased estimates is on average the sum of the
    variances of the means.
    """
    own, own_variance = encoder_gradients(model, images, "pathwise", draws)
    numbers = []
    for way in ("score", "score, baseline"):
        other, variance = encoder_gradients(model, images, way, draws)
        distance = float((own - other).square().sum()) / ((own_variance + variance) / draws)
        numbers += [
            Number(f"encoder, {way}: distance of the means over that of chance", distance, 1.0),
            Number(f"encoder, {way}: variance over the pathwise one", variance / own_variance),
        ]
    return numbers


def brightness_alone(train: Tensor, test: Tensor) -> float:
    """The mean log p(x) of held-out images if each pixel has its mean brightness, whatever the code."""
    mean = train.mean(dim=0, keepdim=True).clamp(*BRIGHTNESS_LIMITS)
    return float(Bernoulli().log_prob(mean.logit(), test).mean())


def images_of(part: str) -> Tensor:
    """The `train` or `test` digits, binarized once."""
    return Bernoulli().prepare(getattr(digits(), part).images.float() / 255, torch.rand)


# -- figures ---------------------------------------------------------------------------------------------------


def draw_known(sizes: list[int], measured: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in ESTIMATORS:
        axes.plot(sizes, [variances(size)[name] for size in sizes], color=WAYS[name])
        axes.plot(sizes, measured[name], "o", color=WAYS[name], label=name)
    axes.set(xscale="log", yscale="log", xlabel="dimensions of z", ylabel="variance of one gradient")
    axes.set_title("Gradient of E |z|$^2$ by a mean: variance (lines: closed form)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def draw_training(found: dict[str, Trained], every: int, floor: float) -> Figure:
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    for way, (_, bounds) in found.items():
        if way != "no noise":
            axes.plot([every * i for i in range(len(bounds))], bounds, color=WAYS[way], label=way)
    axes.axhline(floor, color="black", ls=":", label="no code at all: mean brightness")
    axes.set(ylim=(floor - 12, None), xlabel="training steps", ylabel="nats per image")
    axes.set_title("The bound on held-out digits, by the estimate of the encoder's gradient")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def draw_samples(found: dict[str, Trained]) -> Figure:
    rows = {
        "a latent without noise:\nan autoencoder": "no noise",
        "noise without a latent:\nno gradient through the draw": "cut",
        "both:\nreparameterized": "pathwise",
    }
    figure = Figure(figsize=(9, 3), layout="constrained")
    figure.suptitle("Images decoded from N(0, I)")
    for place, (title, way) in zip(figure.subplots(3, 1), rows.items(), strict=True):
        drawn = found[way].model.sample(16, torch.Generator().manual_seed(0))
        place.imshow(torch.cat(list(torch.nn.functional.pad(drawn, (0, 1, 0, 0), value=1)[:, 0]), dim=1), cmap="gray")
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
        place.set_ylabel(title, rotation=0, ha="right", va="center", size=9)
    return figure


def run(quick: bool) -> Result:
    torch.manual_seed(0)
    NOISE.start(0)
    sizes = [1, 10] if quick else [1, 2, 5, 10, 20, 50, 100]
    measured, numbers = known(sizes, 20_000)
    train, test = images_of("train"), images_of("test")
    steps, every = (200, 100) if quick else (2000, 100)
    found = {way: trained(way, train, test, steps, every) for way in WAYS}
    early = trained("pathwise", train, test, 100, 100).model
    numbers += on_the_encoder(early, train[:64], 100 if quick else 500)
    floor = brightness_alone(train, test)
    numbers += [Number(f"bound after {steps} steps, {way}", found[way].bounds[-1]) for way in ESTIMATORS]
    numbers += [
        Number(f"bound after {steps} steps, cut; of the mean brightness", found["cut"].bounds[-1], floor),
        Number("KL(q(z|x) || p(z)), cut", held_out(found["cut"].model, test)[1], 0.0),
    ]
    for way in ("no noise", "pathwise"):
        q, drawn = found[way].model.posterior_of(test), found[way].model.sample(len(train))
        numbers.append(Number(f"standard deviation of the codes' means, {way}", float(q.mean.detach().std())))
        distance = lg.frechet_distance(drawn, train, "pixels")
        numbers.append(Number(f"Frechet distance of samples in pixels, {way}", distance))
    figures = {
        "known": draw_known(sizes, measured),
        "training": draw_training(found, every, floor),
        "samples": draw_samples(found),
    }
    return numbers, figures


if __name__ == "__main__":
    main(__file__, run)
