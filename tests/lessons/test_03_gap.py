"""The gap of the bound is KL(q(z|x) || p(z|x))."""

import pytest

from tests.lessons.helpers import run_quickly


@pytest.fixture(scope="module")
def numbers():
    return run_quickly("03_gap")[0]


def measured(numbers, what):
    return numbers[what][0]


def test_the_gap_of_a_linear_model_is_the_divergence(numbers):
    assert measured(numbers, "linear: largest |log p(x) - bound - KL|") < 1e-5


def test_a_closed_gap_leads_to_the_highest_likelihood(numbers):
    at_the_end, pca = numbers["linear: log p(x) at the end; that of PCA"]
    assert at_the_end == pytest.approx(pca, abs=0.1)
    assert at_the_end < pca


def test_the_decoder_alone_can_raise_the_bound_and_lower_the_likelihood(numbers):
    assert measured(numbers, "decoder alone under q = p(z): change of the bound") > 1
    assert measured(numbers, "decoder alone under q = p(z): change of log p(x)") < -1


def test_the_encoder_alone_closes_the_gap(numbers):
    assert measured(numbers, "encoder alone: change of the bound") > 1
    assert measured(numbers, "encoder alone: change of log p(x)") == 0
    assert measured(numbers, "digits, encoder alone: change of log p(x)") == 0
    bound = measured(numbers, "digits, encoder alone: change of the bound")
    assert measured(numbers, "digits, encoder alone: change of the KL") == pytest.approx(-bound, abs=0.03)


def test_from_a_closed_gap_the_likelihood_rises_at_least_as_much_as_the_bound(numbers):
    bound = measured(numbers, "decoder alone after it: change of the bound")
    assert measured(numbers, "decoder alone after it: change of log p(x)") > bound > 0.5


def test_the_gap_of_a_vae_of_digits_is_the_divergence_on_a_grid(numbers):
    gap, divergence = numbers["digits: log p(x) - bound at the end; KL by the grid"]
    assert gap == pytest.approx(divergence, abs=0.02)
    assert measured(numbers, "digits: largest |log p(x) - bound - KL|") < 0.05
    by_grid, sampled = numbers["digits: log p(x) by the grid; by importance sampling"]
    assert by_grid == pytest.approx(sampled, abs=0.05)
