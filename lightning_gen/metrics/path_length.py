"""Perceptual path length: how much images change along short steps between codes (Karras et al. 2019, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

EPSILON = 1e-4  # the part of the path between the two images, as in the paper
TRIMMED = 0.01  # part of the lengths that is left out at each end, as in the authors' code


def slerp(start: Tensor, end: Tensor, at: float) -> Tensor:
    """Codes [N, Z] at the part `at` of great circles from `start` to `end` [N, Z]; their norms change linearly."""
    norms = [side.norm(dim=1, keepdim=True).clamp_min(1e-12) for side in (start, end)]
    a, b = start / norms[0], end / norms[1]
    cosine = (a * b).sum(dim=1, keepdim=True)
    across = b - cosine * a
    across = across / across.norm(dim=1, keepdim=True).clamp_min(1e-12)
    angle = at * cosine.clamp(-1, 1).acos()
    return torch.lerp(norms[0], norms[1], at) * (a * angle.cos() + across * angle.sin())


def path_lengths(
    start: Tensor,
    end: Tensor,
    generate: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    between: Callable[[Tensor, Tensor, float], Tensor] = torch.lerp,
    epsilon: float = EPSILON,
) -> Tensor:
    """||f(g(path(epsilon))) - f(g(path(0)))||^2 / epsilon^2 of each path [N], in float64.

    Args:
        start: codes or styles [N, ...] at the beginnings of the paths.
        end: those at their ends.
        generate: from codes or styles to images [N, C, H, W].
        features: from images to features [N, d].
        between: a point of the path, as `torch.lerp` or `slerp`.
        epsilon: how far along the path the second image is.
    """
    found = [features(generate(between(start, end, at))).double() for at in (0.0, epsilon)]
    return (found[1] - found[0]).square().sum(dim=1) / epsilon**2


def trimmed_mean(lengths: Tensor) -> float:
    """The mean of lengths [N] without the smallest and the largest hundredth."""
    low = torch.quantile(lengths, TRIMMED, interpolation="lower")
    high = torch.quantile(lengths, 1 - TRIMMED, interpolation="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())
