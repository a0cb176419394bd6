"""What classifiers learn from, and intervals over seeds."""

import pytest
import torch

from lightning_gen.metrics.augmentation import (
    Labelled,
    classification_accuracy_score,
    half_and_half,
    interval,
    some_of_each_class,
    trained_accuracy,
)


def bars(count, noise=60):
    """Two classes: a bright column on the left or on the right of noisy images."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 2
    images = torch.randint(0, noise, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images[labels == 0, :, :, 1], images[labels == 1, :, :, 6] = 255, 255
    return Labelled(images, labels)


def test_a_smaller_selection_is_part_of_a_larger_one():
    data = Labelled(torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1), torch.arange(60) % 3)
    few, more = (some_of_each_class(data, count, seed=1) for count in (4, 9))
    assert few.labels.bincount().tolist() == [4, 4, 4]
    assert set(few.images.flatten().tolist()) < set(more.images.flatten().tolist())
    assert (more.images.flatten().long() % 3 == more.labels).all()  # each image keeps its label
    assert len(some_of_each_class(data, 1000, seed=1).labels) == 60


def test_half_of_what_is_learned_from_is_real():
    real, generated = bars(6), bars(40)
    both = half_and_half(real, generated)
    assert len(both.labels) == 80
    assert (both.images[:6] == real.images).all()
    assert (both.images[6:12] == real.images).all()
    assert (both.images[40:] == generated.images).all()


def test_labels_that_lie_cost_accuracy_and_true_ones_do_not():
    test, right = bars(50), bars(40)
    wrong = Labelled(right.images, 1 - right.labels)
    assert trained_accuracy(right, test, seed=0, steps=8) > 0.95
    assert classification_accuracy_score(right, test, seed=0, steps=8) > 0.95
    assert classification_accuracy_score(wrong, test, seed=0, steps=8) < 0.05


def test_the_interval_is_that_of_students_distribution():
    found = interval([1.0, 2.0, 3.0])  # t = 4.303 with two degrees of freedom, standard error 1 / sqrt(3)
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(4.30265 / 3**0.5, rel=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    with pytest.raises(ValueError, match="two values"):
        interval([1.0])
