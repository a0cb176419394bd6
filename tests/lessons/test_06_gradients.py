"""Reparameterized gradients have the smaller variance."""

import pytest

from tests.lessons.helpers import run_quickly


@pytest.fixture(scope="module")
def numbers():
    return run_quickly("06_gradients")[0]


@pytest.mark.parametrize("name", ["pathwise", "score", "score, baseline"])
def test_all_estimators_have_the_true_mean_and_the_variance_of_the_closed_form(numbers, name):
    mean, true = numbers[f"known, Z = 10, {name}: mean of the gradient"]
    variance, closed = numbers[f"known, Z = 10, {name}: variance"]
    assert mean == pytest.approx(true, abs=5 * (closed / 20_000) ** 0.5)
    assert variance == pytest.approx(closed, rel=0.05)


@pytest.mark.parametrize("name", ["score", "score, baseline"])
def test_on_an_encoder_the_means_agree_and_the_variances_do_not(numbers, name):
    distance, chance = numbers[f"encoder, {name}: distance of the means over that of chance"]
    assert distance == pytest.approx(chance, abs=0.4)
    assert numbers[f"encoder, {name}: variance over the pathwise one"][0] > 10


def test_without_a_gradient_through_the_draw_the_code_says_nothing(numbers):
    assert numbers["KL(q(z|x) || p(z)), cut"][0] < 0.5
    bound, brightness_alone = numbers["bound after 200 steps, cut; of the mean brightness"]
    assert bound == pytest.approx(brightness_alone, abs=1.5)


def test_training_with_pathwise_gradients_is_fastest(numbers):
    pathwise, score = (numbers[f"bound after 200 steps, {name}"][0] for name in ("pathwise", "score"))
    assert pathwise > score + 1
