"""Lesson 3: the gap between the bound and log p(x) is KL(q(z|x) || p(z|x)). docs/lessons/03_gap.md

A linear VAE, where every term has a closed form (gap_linear.py), and a VAE of digits with a code of two numbers,
where integrals over the code are sums over a grid.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from gap import NOISE, Heights, both, decoder_of, draw_heights, encoder_of, train, vae
from gap_linear import draw_stages, linear_stages
from lesson import Number, Result, main
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.data.sources.digits import digits
from lightning_gen.metrics.likelihood import importance_sampled
from lightning_gen.models.vae import VAE
from lightning_gen.objectives.likelihoods import Bernoulli
from lightning_gen.objectives.posteriors import standard_normal_log_prob
from lightning_gen.pictures.charts import COLOURS

REACH = 7.0  # the grid covers [-7, 7]^2, with room for the broad posteriors of the first steps


def grid(side: int) -> tuple[Tensor, float]:
    """Codes [side^2, 2] and the area that each stands for."""
    along = torch.linspace(-REACH, REACH, side)
    return torch.cartesian_prod(along, along), (2 * REACH / (side - 1)) ** 2


@torch.no_grad()
def on_grid(model: VAE, images: Tensor, codes: Tensor, area: float) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x) [B], log p(z|x) and log q(z|x) [S, B], from sums over the grid."""
    raw = model.decoder(codes).flatten(1)
    prior = standard_normal_log_prob(codes)
    joint = raw @ images.flatten(1).T - nn.functional.softplus(raw).sum(dim=1, keepdim=True) + prior.unsqueeze(1)
    log_p = joint.double().logsumexp(dim=0) + math.log(area)
    return log_p, joint - log_p, model.posterior_of(images).log_prob(codes.unsqueeze(1))


@torch.no_grad()
def heights(model: VAE, images: Tensor, codes: Tensor, area: float, draws: int) -> tuple[Heights, Tensor]:
    """The means, and KL(q(z|x) || p(z|x)) of each image; the bound averages over draws from q, without a grid."""
    log_p, posterior, q = on_grid(model, images, codes, area)
    kl = (q.exp() * (q - posterior)).double().sum(dim=0) * area
    noise = torch.randn(draws, len(images), 2)
    latents = model.posterior_of(images).latents_of(noise)
    bound = model.log_likelihood(latents, images).mean(dim=0) - model.posterior_of(images).standard_normal_kl().sum(1)
    return Heights(float(log_p.mean()), float(bound.mean()), float(kl.mean())), kl


def binary_digits() -> Tensor:
    """The training digits, binarized once."""
    images = digits().train.images.float() / 255
    return Bernoulli().prepare(images, torch.rand)


def alone(model: VAE, images: Tensor, measure: Callable[[VAE], Heights], steps: int) -> list[Number]:
    """What happens from here if only one of the two networks is trained."""
    before, numbers = measure(model), []
    for name, parameters in (("encoder", encoder_of), ("decoder", decoder_of)):
        other = copy.deepcopy(model)
        train(other, parameters(other), images, steps, 1e-3, 128)
        after = measure(other)
        numbers += [
            Number(f"digits, {name} alone: change of the bound", after.bound - before.bound),
            Number(
                f"digits, {name} alone: change of log p(x)",
                after.log_p - before.log_p,
                0.0 if name == "encoder" else None,
            ),
            Number(f"digits, {name} alone: change of the KL", after.kl - before.kl),
        ]
    return numbers


class Digits(NamedTuple):
    """A VAE of digits in training."""

    model: VAE
    images: Tensor  # those on which it is measured
    times: list[int]
    seen: list[Heights]
    each: Tensor  # KL(q(z|x) || p(z|x)) of each image at the end
    numbers: list[Number]


def digits_vae(quick: bool) -> Digits:
    """Train it, and measure it at times that double."""
    images = binary_digits()
    model = vae((1, 8, 8), [128, 128], Bernoulli(), samples=1)
    codes, area = grid(161 if quick else 281)
    shown = images[:50] if quick else images[:100]
    measure = partial(heights, images=shown, codes=codes, area=area, draws=1000)
    times = [0, 20, 50, 100, 200, 400] if quick else [0, 20, 50, 100, 200, 400, 800, 1600, 3200]
    seen, numbers = [], []
    for before, step in zip([0, *times], times, strict=False):
        train(model, both(model), images, step - before, 1e-3, 128)
        now, each = measure(model)
        seen.append(now)
        if step == 200:
            numbers = alone(model, images, lambda model: measure(model)[0], 200)
    generator = torch.Generator().manual_seed(0)
    densities = model.densities(Batch(shown, None), NOISE)
    sampled = importance_sampled(densities, 200 if quick else 2000, torch.device("cpu"), generator)
    numbers = [
        Number("digits: log p(x) by the grid; by importance sampling", now.log_p, float(sampled.mean())),
        Number("digits: log p(x) - bound at the end; KL by the grid", now.log_p - now.bound, now.kl),
        Number("digits: largest |log p(x) - bound - KL|", max(abs(h.log_p - h.bound - h.kl) for h in seen), 0.0),
        *numbers,
    ]
    return Digits(model, shown, times, seen, each, numbers)


# -- figures ---------------------------------------------------------------------------------------------------


def draw_digits(found: Digits) -> Figure:
    figure = Figure(figsize=(7.6, 6), layout="constrained")
    figure.suptitle("A VAE of digits with a code of two numbers")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    draw_heights(above, found.times, found.seen)
    above.legend(frameon=False, loc="lower right")
    gaps = [h.log_p - h.bound for h in found.seen]
    below.plot(found.times, gaps, color=COLOURS[1], lw=3, label="log p(x) - bound")
    below.plot(
        found.times, [h.kl for h in found.seen], "--", color="black", label="KL(q(z|x) || p(z|x)), by the grid"
    )
    below.set(xlabel="training steps", ylabel="nats per image", ylim=(0, None))
    below.set_xscale("symlog", linthresh=20)
    below.set(xlim=(0, found.times[-1]))
    below.spines[["top", "right"]].set_visible(False)
    below.legend(frameon=False)
    return figure


def draw_posteriors(found: Digits) -> Figure:
    """The true posterior and q of the images with the smallest, the middle and the largest gap."""
    order = found.each.argsort()
    chosen = order[[0, len(order) // 2, -1]]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle("The true posterior p(z|x) (filled) and the encoder's q(z|x) (lines) of three digits")
    codes, area = grid(351)
    _, posterior, q = on_grid(found.model, found.images[chosen], codes, area)
    for i, (axes, name) in enumerate(zip(figure.subplots(1, 3), ("smallest", "middle", "largest"), strict=True)):
        plane = [density[:, i].exp().view(351, 351).T.numpy() for density in (posterior, q)]
        x, y = (codes[:, j].view(351, 351).T.numpy() for j in (0, 1))
        axes.contourf(x, y, plane[0], levels=[f * plane[0].max() for f in (0.01, 0.1, 0.3, 0.6, 1)], cmap="Oranges")
        axes.contour(x, y, plane[1], levels=[f * plane[1].max() for f in (0.1, 0.6)], colors=COLOURS[0])
        weight = plane[0] + plane[1] > 0.01 * plane[0].max()
        centre = [float((axis[weight].max() + axis[weight].min()) / 2) for axis in (x, y)]
        half = 0.6 * max(float(axis[weight].max() - axis[weight].min()) for axis in (x, y))
        axes.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half), aspect="equal")
        axes.set(xlabel="code 1", ylabel="code 2", title=f"{name} gap: {float(found.each[chosen[i]]):.2f} nats")
        inset = axes.inset_axes((0.0, 0.76, 0.24, 0.24))
        inset.imshow(found.images[chosen[i], 0].numpy(), cmap="gray")
        inset.set(xticks=[], yticks=[])
    return figure


def run(quick: bool) -> Result:
    torch.manual_seed(0)
    NOISE.start(0)
    times, seen, numbers = linear_stages(quick)
    found = digits_vae(quick)
    figures = {
        "linear": draw_stages(times, seen),
        "digits": draw_digits(found),
        "posteriors": draw_posteriors(found),
    }
    return [*numbers, *found.numbers], figures


if __name__ == "__main__":
    main(__file__, run)
