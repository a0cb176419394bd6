"""Does a classifier learn more from real and generated images together than from real ones alone?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gen.metrics.classifier import FeatureClassifier, Recipe, accuracy, fit_state
from lightning_gen.metrics.two_sample import train_on_synthetic_test_on_real


class Labelled(NamedTuple):
    """Images uint8 [N, C, H, W] and their classes int64 [N]."""

    images: Tensor
    labels: Tensor

    def at(self, rows: Tensor) -> Labelled:
        """The images at these rows, int64 [M]."""
        return Labelled(self.images[rows], self.labels[rows])


class MeanInterval(NamedTuple):
    """A mean over seeds, and its 95 % interval."""

    mean: float
    low: float
    high: float


def some_of_each_class(data: Labelled, count: int, seed: int) -> Labelled:
    """At most `count` random images of each class; for one seed, a smaller selection is part of a larger one."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(seed))
    rows = [order[data.labels[order] == label][:count] for label in data.labels.unique()]
    return data.at(torch.cat(rows))


def half_and_half(real: Labelled, generated: Labelled) -> Labelled:
    """All generated images and as many real ones, which are repeated where there are fewer.

    So a batch has about as many real images as generated ones, however few of them there are.
    """
    rows = torch.arange(len(generated.labels)) % len(real.labels)
    return Labelled(*(torch.cat(parts) for parts in zip(real.at(rows), generated, strict=True)))


def trained_accuracy(train: Labelled, test: Labelled, seed: int, steps: int) -> float:
    """The accuracy on `test`, in [0, 1], of a small convolutional classifier that takes about `steps` steps."""
    recipe = Recipe(seed=seed, epochs=1, min_steps=steps)
    return accuracy(FeatureClassifier(fit_state(*train, recipe), "classifier-trained"), *test)


def classification_accuracy_score(generated: Labelled, test: Labelled, seed: int, steps: int) -> float:
    """The accuracy on `test` of a classifier that learns from generated images alone (Ravuri & Vinyals 2019)."""
    per_epoch = max(len(generated.labels) // Recipe().batch_size, 1)
    epochs = max(math.ceil(steps / per_epoch), 1)
    return train_on_synthetic_test_on_real(*generated, *test, seed=seed, epochs=epochs)


def interval(values: list[float]) -> MeanInterval:
    """The mean of one value for each seed, and its 95 % interval by Student's t distribution.

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs two values or more, got {len(values)}")
    from scipy.stats import t

    found = torch.tensor(values, dtype=torch.float64)
    half = float(t.ppf(0.975, len(values) - 1) * found.std() / len(values) ** 0.5)
    mean = float(found.mean())
    return MeanInterval(mean, mean - half, mean + half)
