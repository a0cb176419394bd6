"""Metrics that use a classifier's prediction for each image: Inception score, distances within classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_gen.metrics.frechet import Moments, frechet_distance


def inception_score(logits: Tensor, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """exp E_x KL(p(y|x) || p(y)): mean and standard deviation over splits (Salimans et al. 2016, sec. 4).

    Args:
        logits: class logits [N, K].
        splits: number of parts that the shuffled images are cut into.
        seed: shuffles the images; the global generator is not touched.

    Returns:
        Mean and standard deviation; a score lies between 1 and K.

    Raises:
        ValueError: fewer images than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"an inception score over {splits} splits needs more than {len(logits)} images")
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    log_p = logits.cpu().double()[order].log_softmax(1)
    scores = []
    for part in log_p.tensor_split(splits):
        marginal = part.logsumexp(0) - math.log(len(part))
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    stacked = torch.stack(scores)
    return float(stacked.mean()), float(stacked.std(correction=0))


def per_class_frechet(
    fake: Tensor, fake_labels: Tensor, real: Tensor, real_labels: Tensor, num_classes: int
) -> dict[int, float]:
    """The Frechet distance within each class; classes with fewer than two images on one side are left out.

    Args:
        fake: features of samples [N, d].
        fake_labels: their classes int64 [N].
        real: features of real images [M, d].
        real_labels: their classes int64 [M].
        num_classes: number of classes K.
    """
    distances = {}
    for label in range(num_classes):
        a, b = fake[fake_labels == label], real[real_labels == label]
        if len(a) > 1 and len(b) > 1:
            distances[label] = frechet_distance(Moments.of(a), Moments.of(b))
    return distances


def class_balance(fake_labels: Tensor, real_labels: Tensor, num_classes: int) -> tuple[float, int]:
    """How class frequencies differ: their total variation distance, and the number of lost classes.

    Args:
        fake_labels: classes of samples, int64 [N].
        real_labels: classes of real images, int64 [M].
        num_classes: number of classes K.

    Returns:
        The total variation in [0, 1], and the number of classes with a tenth or less of their real frequency.
    """
    fake = torch.bincount(fake_labels.cpu(), minlength=num_classes).double() / len(fake_labels)
    real = torch.bincount(real_labels.cpu(), minlength=num_classes).double() / len(real_labels)
    lost = ((real > 0) & (fake <= real / 10)).sum()
    return float((fake - real).abs().sum() / 2), int(lost)
