"""The best discriminator measures the Jensen-Shannon divergence."""

import math

import pytest

from tests.lessons.helpers import run_quickly


@pytest.fixture(scope="module")
def numbers():
    return run_quickly("04_discriminator")[0]


@pytest.mark.parametrize("shift", [2, 6])
def test_a_discriminator_at_its_end_measures_the_divergence(numbers, shift):
    measured, exact = numbers[f"d = {shift}: estimate of the best D"]
    assert measured == pytest.approx(exact, abs=0.01)
    assert measured < math.log(2)


def test_equal_densities_cannot_be_told_apart(numbers):
    assert numbers["d = 0: estimate of the best D"][0] == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("shift", [2, 6])
def test_one_in_training_measures_less(numbers, shift):
    measured, exact = numbers[f"d = {shift}: the same after 20 steps"]
    assert measured < exact - 0.02


def test_the_minimax_generator_gets_no_gradient_where_the_densities_are_far_apart(numbers):
    near, theory = numbers["d = 2: pull, minimax"]
    assert near == pytest.approx(theory, abs=0.05)
    assert abs(numbers["d = 6: pull, minimax"][0]) < 0.05


@pytest.mark.parametrize("shift", [2, 6])
def test_a_critic_measures_the_distance_and_pulls_everywhere(numbers, shift):
    measured, theory = numbers[f"d = {shift}: critic"]
    assert measured == pytest.approx(theory, rel=0.05)
    assert numbers[f"d = {shift}: pull, Wasserstein"][0] == pytest.approx(1, abs=0.15)


def test_a_gan_minimizes_less_than_the_divergence(numbers):
    assert numbers["GAN: D trained to its end; largest error of its estimate"][0] < 0.03
    live, exact = numbers["GAN, second half: mean estimate in training; exact"]
    assert live < exact
