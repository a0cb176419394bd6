"""Tests with classifiers: can one tell samples from real images, and can one learn from samples?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.metrics.classifier import accuracy, train_classifier


def classifier_two_sample_test(
    fake: Tensor, real: Tensor, *, seed: int = 0, hidden: int = 20, steps: int = 300
) -> tuple[float, float]:
    """Held-out accuracy of a small network that tells samples from real images.

    C2ST-NN of Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests": both sides are cut to the same
    number of images; half of them train one hidden layer of 20 units, the other half test it.

    Args:
        fake: features of samples [N, d].
        real: features of real images [M, d].
        seed: draws the halves and the initial weights; the global generator is not touched.
        hidden: hidden units.
        steps: full-batch Adam steps.

    Returns:
        The accuracy (0.5: the sides cannot be told apart, 1: always) and its p-value under N(1/2, 1/(4 n_test)).

    Raises:
        ValueError: fewer than four images on one side.
    """
    n = min(len(fake), len(real))
    if n < 4:
        raise ValueError(f"a two-sample test needs at least 4 images on each side, got {len(fake)} and {len(real)}")
    generator = torch.Generator().manual_seed(seed)
    sides = [x[torch.randperm(len(x), generator=generator)[:n].to(x.device)].cpu().float() for x in (fake, real)]
    half = n // 2
    train, test = torch.cat([x[:half] for x in sides]), torch.cat([x[half:] for x in sides])
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    train_labels = torch.cat([torch.zeros(half), torch.ones(half)])
    test_labels = torch.cat([torch.zeros(n - half), torch.ones(n - half)])
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), torch.inference_mode(False):
        torch.random.default_generator.manual_seed(seed)
        score = _fit_discriminator((train - mean) / std, train_labels, hidden, steps)
    right = ((score((test - mean) / std).detach() > 0).float() == test_labels).float().mean().item()
    z = (right - 0.5) * 2 * math.sqrt(len(test))
    return right, 0.5 * math.erfc(z / math.sqrt(2))


def train_on_synthetic_test_on_real(
    fake: Tensor,
    fake_labels: Tensor,
    real: Tensor,
    real_labels: Tensor,
    *,
    seed: int = 0,
    epochs: int | None = None,
) -> float:
    """Classification accuracy score: a classifier trained on labelled samples, tested on real images.

    Ravuri & Vinyals 2019, "Classification accuracy score for conditional generative models"; TSTR in Esteban
    et al. 2017.

    Args:
        fake: samples, uint8 [N, C, H, W].
        fake_labels: their intended classes, int64 [N].
        real: real images, uint8 [M, C, H, W].
        real_labels: their classes, int64 [M].
        seed: for training the classifier.
        epochs: passes over the samples; by default as in ``train_classifier``.

    Returns:
        The accuracy on the real images, in [0, 1].
    """
    return accuracy(train_classifier(fake, fake_labels, seed=seed, epochs=epochs), real, real_labels)


def _fit_discriminator(features: Tensor, labels: Tensor, hidden: int, steps: int) -> nn.Module:
    net = nn.Sequential(nn.Linear(features.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(features), labels).backward()
        optimizer.step()
    return net
