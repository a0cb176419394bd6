"""What goes wrong with the networks of a lecture text."""

import pytest

from tests.lessons.helpers import run_quickly


@pytest.fixture(scope="module")
def numbers():
    return run_quickly("09_text_networks")[0]


@pytest.mark.parametrize("weights", ["as the text says", "He's initial weights"])
def test_the_spread_of_images_at_the_start_is_that_of_wide_networks(numbers, weights):
    measured, theory = numbers[f"start, {weights}: spread of raw images over codes"]
    assert measured == pytest.approx(theory, rel=0.2)


def test_the_text_networks_start_blind(numbers):
    of_images, of_logits = "spread of raw images over codes", "spread of D's logits over images"
    for what in (of_images, of_logits):
        assert (
            numbers[f"start, as the text says: {what}"][0] < 0.1 * numbers[f"start, He's initial weights: {what}"][0]
        )


def test_a_cross_entropy_with_grey_values_has_a_floor(numbers):
    assert numbers["VAE: the cross entropy of perfect reconstructions"][0] > 100
