"""Lesson 5: a discriminator with more steps measures more, and none measures more than one that is trained on."""

import math

from tests.lessons.helpers import run_quickly


def test_more_steps_measure_more_of_the_divergence():
    numbers, figures = run_quickly("05_k_steps")
    for data in ("ring", "digits"):
        found = [numbers[f"{data}, k = {k}: divergence by the discriminator, nats"] for k in (1, 2, 5, 20)]
        estimates = [measured for measured, _ in found]
        assert estimates == sorted(estimates)  # so few updates that the generator has hardly moved
        assert all(measured < at_the_end <= math.log(2) + 0.01 for measured, at_the_end in found)
    assert set(figures) == {"ring", "samples", "digits"}
