"""Maximum likelihood is minimizing KL(p || q)."""

import pytest

from tests.lessons.helpers import run_quickly


def test_the_likelihood_minus_the_entropy_is_the_divergence():
    numbers, figures = run_quickly("01_maximum_likelihood")
    for what in ("NLL of p itself, and its entropy", "1 Gaussian: NLL - entropy", "3 Gaussians: NLL - entropy"):
        measured, theory = numbers[f"{what}, nats"]
        assert measured == pytest.approx(theory, abs=0.01)
    assert numbers["1 Gaussian: NLL - entropy, nats"][1] > 0.6
    assert numbers["3 Gaussians: NLL - entropy, nats"][1] < 0.02
    assert numbers["largest difference of the two during training, nats"][0] < 0.02
    measured, theory = numbers["KL of 3 Gaussians from 1,000 points, nats, mean of 4 fits"]
    assert measured == pytest.approx(theory, rel=0.7)
    assert set(figures) == {"densities", "training"}
