"""Lesson 2: a Gaussian mixture is blurry, a VAE is a mixture without end."""

import pytest

from tests.lessons.helpers import run_quickly


def test_more_gaussians_are_better_and_a_vae_is_a_mixture_of_many():
    numbers, figures = run_quickly("02_mixture_without_end")
    one, moments = numbers["mixture of Gaussians, 1,569 parameters: -log p(x) of test images, nats"]
    assert one == pytest.approx(moments, abs=0.01)  # one Gaussian has the moments of the pixels
    assert numbers["mixture of Gaussians, 6,276 parameters: -log p(x) of test images, nats"][0] < one - 20
    finite, limit = numbers["the largest VAE as 300 Gaussians, nats; as all"]
    assert finite == pytest.approx(limit, rel=0.1)
    assert set(figures) == {"pictures", "curves"}
