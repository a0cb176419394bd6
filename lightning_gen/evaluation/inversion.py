"""Inversion of images into a generator: the codes, or the styles, whose images are nearest to given ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gen.evaluation.latent_space import LatentSpace
from lightning_gen.metrics.features import FeatureExtractor

LEARNING_RATE = 0.3  # of Adam, in standard deviations of the points; it falls to 0 along a cosine
BATCH = 128  # points optimized at once


@dataclass(frozen=True)
class Search:
    """How images are inverted.

    Attributes:
        steps: of the optimizer.
        restarts: searches for each image, from the draws that are nearest to it; that with the smallest squared error
            counts.
        draws: random samples among which these are found.
        prior: the weight of the penalty on points that are far from what the prior draws.
        perceptual: the weight of the squared distance of the features.
    """

    steps: int = 200
    restarts: int = 4
    draws: int = 1000
    prior: float = 0.01
    perceptual: float = 0.0


@dataclass(frozen=True)
class Inverted:
    """The result for N images.

    Attributes:
        points: [N, D].
        labels: [N], the class of each in a conditional model, that of the draw from which the search began.
        images: of these points, [N, C, H, W] in [0, 1].
        errors: their squared error, summed over values, [N].
        nearest: the same of the nearest of the random draws, [N].
        nearest_images: those draws.
        restart_errors: [N, restarts], the errors of all searches.
    """

    points: Tensor
    labels: Tensor | None
    images: Tensor
    errors: Tensor
    nearest: Tensor
    nearest_images: Tensor
    restart_errors: Tensor


def invert(
    space: LatentSpace,
    images: Tensor,
    search: Search,
    features: FeatureExtractor | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> Inverted:
    """Find points p whose images G(p) are nearest to given images x, by Adam on the sum of

        ||G(p) - x||^2,   perceptual ||f(G(p)) - f(x)||^2   and   prior ||(p - mean) / deviation||^2

    with the mean and the deviations of random draws, from the draws that are nearest to x (Zhu et al. 2016,
    "Generative visual manipulation on the natural image manifold", sec. 3.1; Abdal et al. 2019 for styles).

    Args:
        space: where points are looked for.
        images: x, float [N, C, H, W] in [0, 1].
        search: the weights, and how long to search.
        features: f, where its weight is above 0.
        seed: of the random draws. The same seed gives the same result.
        advance: is told of each point and step.
    """
    draws, labels = space.draw(search.draws, seed)
    drawn = space.shown(draws, labels)
    errors = torch.cdist(images.flatten(1).double().cpu(), drawn.flatten(1).double()).square()  # [N, draws]
    nearest, start = errors.topk(min(search.restarts, search.draws), dim=1, largest=False)
    where = start.flatten().to(draws.device)
    targets = images.repeat_interleave(start.shape[1], dim=0).to(draws)
    given = None if labels is None else labels[where]
    scale = (draws.mean(dim=0), draws.std(dim=0).clamp_min(1e-6))
    parts = []
    for rows in torch.arange(len(where), device=where.device).split(BATCH):
        label = None if given is None else given[rows]
        loss = _loss(space, targets[rows], label, search, features)
        parts.append(_descend(draws[where[rows]], loss, scale, search, advance))
    points = torch.cat(parts)
    shown = space.shown(points, given)
    found = (shown - targets.cpu()).square().flatten(1).sum(dim=1).view(start.shape)  # [N, restarts]
    best = found.argmin(dim=1) + torch.arange(len(images)) * start.shape[1]
    return Inverted(
        points=points[best.to(points.device)],
        labels=None if given is None else given[best.to(points.device)],
        images=shown[best],
        errors=found.amin(dim=1),
        nearest=nearest[:, 0].float(),
        nearest_images=drawn[start[:, 0]],
        restart_errors=found,
    )


def _loss(
    space: LatentSpace, targets: Tensor, labels: Tensor | None, search: Search, features: FeatureExtractor | None
) -> Callable[[Tensor], Tensor]:
    """From points [N, D] to the error of each image [N]: of its values and, with a weight, of its features."""
    wanted = None
    if search.perceptual and features is not None:
        features = features.to(targets.device)
        wanted = features.extract(features.prepare(targets))

    def loss(points: Tensor) -> Tensor:
        images = space.images(points, labels)
        error = (images - targets).square().flatten(1).sum(dim=1)
        if wanted is None or features is None:
            return error
        seen = features.extract(features.prepare(images.clamp(0, 1)))
        return error + search.perceptual * (seen - wanted).square().flatten(1).sum(dim=1)

    return loss


@torch.enable_grad()
def _descend(
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    scale: tuple[Tensor, Tensor],
    search: Search,
    advance: Callable[[int], None],
) -> Tensor:
    """The points [N, D] where the descent from `start` ends; each goes its own way, since losses are summed."""
    mean, deviation = scale
    normal = ((start - mean) / deviation).detach().requires_grad_()  # the same units for all coordinates
    optimizer = torch.optim.Adam([normal], lr=LEARNING_RATE)
    for step in range(search.steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / search.steps)) / 2
        penalty = search.prior * normal.square().sum(dim=1)
        total = (loss(mean + deviation * normal) + penalty).sum()
        (normal.grad,) = torch.autograd.grad(total, [normal])
        optimizer.step()
        advance(len(start))
    return (mean + deviation * normal).detach()
