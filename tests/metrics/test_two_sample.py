"""Classifier two-sample test, and training on samples."""

import pytest
import torch

from lightning_gen.metrics.two_sample import classifier_two_sample_test, train_on_synthetic_test_on_real


def normal(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_same_distribution_cannot_be_told_apart():
    right, p = classifier_two_sample_test(normal(1000, 8, 0), normal(1200, 8, 1))
    assert right == pytest.approx(0.5, abs=0.05)
    assert p > 0.01


def test_shifted_distribution_is_told_apart_at_the_bayes_rate():
    # |shift| = 2 along one axis: the best accuracy is Phi(1) = 0.841.
    shift = torch.zeros(8)
    shift[0] = 2
    right, p = classifier_two_sample_test(normal(2000, 8, 0), normal(2000, 8, 1, shift))
    assert right == pytest.approx(0.841, abs=0.03)
    assert p < 1e-10


def test_it_is_seeded_and_leaves_the_global_generator():
    x, y = normal(100, 4, 0), normal(100, 4, 1, 0.5)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = classifier_two_sample_test(x, y, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert classifier_two_sample_test(x, y, seed=1) == first
    with pytest.raises(ValueError, match="at least 4"):
        classifier_two_sample_test(x[:3], y)


def test_real_digits_teach_and_shuffled_labels_do_not(digits):
    (images, labels), (test, test_labels) = digits
    good = train_on_synthetic_test_on_real(images[:400], labels[:400], test, test_labels, epochs=8)
    bad = train_on_synthetic_test_on_real(images[:400], labels[:400].roll(1), test, test_labels, epochs=4)
    assert good > 0.8
    assert bad < 0.3
