"""The linear VAE of lesson 3, where every term has a closed form, trained in stages."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from gap import Heights, both, decoder_of, draw_heights, encoder_of, train, vae
from lesson import Number
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_gen.models.vae import VAE
from lightning_gen.objectives.divergences import full_gaussian_kl
from lightning_gen.objectives.likelihoods import Gaussian

SIGMA = 0.5


def linear_data(count: int) -> Tensor:
    """Images of eight pixels, W z + noise, whose two factors are correlated."""
    weights = torch.tensor([[1.5, 1, 0.5, 0, 0, 0.5, 0, 1], [1, 1, 0, 0.5, 1, 0, 0.5, 1]])
    return (torch.randn(count, 2) @ weights + SIGMA * torch.randn(count, 8)).view(count, 1, 1, 8)


@torch.no_grad()
def exact(model: VAE, images: Tensor) -> Heights:
    """In closed form, for a linear decoder: W z + b + sigma epsilon (Bishop 2006, sec. 12.2)."""
    x, linear = images.flatten(1).double(), next(m for m in model.decoder.modules() if isinstance(m, nn.Linear))
    weights, bias, variance = linear.weight.double(), linear.bias.double(), SIGMA**2
    q = model.posterior_of(images)
    means, covariances = q.mean.double(), q.covariance().double()
    marginal = torch.distributions.MultivariateNormal(bias, weights @ weights.T + variance * torch.eye(8).double())
    errors = (x - means @ weights.T - bias).square().sum(dim=1) + (weights @ covariances @ weights.T).diagonal(
        dim1=1, dim2=2
    ).sum(dim=1)
    bound = -0.5 * errors / variance - 4 * math.log(2 * math.pi * variance) - q.standard_normal_kl().double().sum(1)
    posterior = torch.linalg.inv(torch.eye(2).double() + weights.T @ weights / variance)
    centres = (x - bias) @ weights @ posterior / variance
    kl = [full_gaussian_kl(*own, centre, posterior) for *own, centre in zip(means, covariances, centres, strict=True)]
    return Heights(float(marginal.log_prob(x).mean()), float(bound.mean()), float(torch.stack(kl).mean()))


def most_likely(images: Tensor) -> float:
    """The highest mean log p(x) of any linear model with this sigma: probabilistic PCA (Tipping & Bishop 1999)."""
    x = images.flatten(1).double()
    values, vectors = torch.linalg.eigh(x.T.cov(correction=0))
    kept = values.clone()
    kept[:-2] = SIGMA**2
    covariance = vectors @ kept.clamp_min(SIGMA**2).diag() @ vectors.T
    return float(torch.distributions.MultivariateNormal(x.mean(dim=0), covariance).log_prob(x).mean())


def forget(model: VAE) -> None:
    """Let the encoder say the prior of every image, q(z|x) = p(z)."""
    for parameter in model.posterior.parameters():
        nn.init.zeros_(parameter)


class Stage(NamedTuple):
    """A part of the training of one model."""

    name: str
    parameters: Callable[[VAE], list[nn.Parameter]]  # those that are trained
    steps: int


STAGES = (
    Stage("both", both, 400),
    Stage("decoder\nalone,\nq = p(z)", decoder_of, 70),
    Stage("encoder alone", encoder_of, 200),
    Stage("decoder\nalone", decoder_of, 100),
    Stage("both", both, 400),
)


def linear_stages(quick: bool) -> tuple[list[int], list[Heights], list[Number]]:
    """One model through the stages: the steps, the heights at them, and what each stage changed."""
    images = linear_data(100 if quick else 500)
    model = vae((1, 1, 8), [], Gaussian(SIGMA, learned=False), samples=8)
    times, seen, changes = [0], [exact(model, images)], []
    for stage in STAGES:
        if "q =" in stage.name:
            forget(model)
            times, seen = [*times, times[-1]], [*seen, exact(model, images)]
        start = seen[-1]
        for _ in range(stage.steps // 10):
            train(model, stage.parameters(model), images, 10, 0.01, len(images))
            times, seen = [*times, times[-1] + 10], [*seen, exact(model, images)]
        changes.append(Heights(*(after - before for after, before in zip(seen[-1], start, strict=True))))
    _, forgotten, encoder, decoder, _ = changes
    return (
        times,
        seen,
        [
            Number("linear: largest |log p(x) - bound - KL|", max(abs(h.log_p - h.bound - h.kl) for h in seen), 0.0),
            Number("linear: log p(x) at the end; that of PCA", seen[-1].log_p, most_likely(images)),
            Number("decoder alone under q = p(z): change of the bound", forgotten.bound),
            Number("decoder alone under q = p(z): change of log p(x)", forgotten.log_p),
            Number("encoder alone: change of the bound", encoder.bound),
            Number("encoder alone: change of log p(x)", encoder.log_p, 0.0),
            Number("decoder alone after it: change of the bound", decoder.bound),
            Number("decoder alone after it: change of log p(x)", decoder.log_p),
        ],
    )


def draw_stages(times: list[int], seen: list[Heights]) -> Figure:
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    draw_heights(axes, times, seen)
    low = min(h.bound for h in seen[10:])
    axes.set(ylim=(low - 1, 2), xlim=(0, times[-1]), xlabel="training steps", title="A linear VAE, trained in parts")
    axes.legend(frameon=False, loc="lower right")
    start = 0
    for name, _, steps in STAGES:
        axes.axvline(start, color="#94a4a2", lw=0.8)
        axes.text(start + steps / 2, 1.5, name, ha="center", va="top", size=9)
        start += steps
    return figure
