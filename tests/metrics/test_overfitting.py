"""A discriminator's gap has a fixed scale, and a run is warned of overfitting once, when it is certain."""

import json
import math
from dataclasses import asdict

import pytest

from lightning_gen.metrics.overfitting import Overfitting, copying, logits_gap


@pytest.mark.parametrize(("held_out", "gap"), [(3.0, 0.0), (-1.0, 1.0), (2.0, 0.25)])
def test_the_gap_is_0_if_held_out_images_count_as_training_images_and_1_if_as_samples(held_out, gap):
    for scale, shift in ((1, 0), (10, -7)):  # of a critic, whose logits have neither an origin nor a unit
        means = {"logits_train": 3.0, "logits": held_out, "logits_fake": -1.0}
        assert logits_gap({k: scale * v + shift for k, v in means.items()}) == pytest.approx({"logits_gap": gap})


def test_the_gap_of_a_discriminator_that_tells_nothing_apart_is_not_a_number():
    assert math.isnan(logits_gap(dict.fromkeys(("logits_train", "logits", "logits_fake"), 1.0))["logits_gap"])
    assert logits_gap({"loss": 1.0, "loss_train": 1.0}) == {}


def told(*evaluations, watch=None):
    """The steps at which there is a warning, for pairs of a held-out and a training loss every 10 steps."""
    watch = watch or Overfitting()
    return [
        10 * index
        for index, (held_out, seen) in enumerate(evaluations)
        if watch.update(10 * index, {"eval/loss": held_out, "eval/loss_train": seen})
    ]


def test_a_held_out_loss_that_rises_while_that_of_training_falls_is_told_once():
    best = [(9, 9), (7, 6)]
    assert told(*best, (8, 5), (8, 4), (9, 3), (10, 2), (11, 1)) == [40]
    assert told(*best, (8, 5), (8, 4), (6, 3), (8, 2), (8, 1)) == []  # a new best starts anew
    assert told(*best, (8, 7), (9, 8), (10, 9), (11, 9)) == []  # both rise: training diverges, or its weights change
    assert told(*best, (7, 5), (7, 4), (7, 3), (7, 2)) == []  # held-out images lose nothing


def test_the_warning_says_what_rose_and_what_fell():
    watch = Overfitting()
    told((9, 9), (7, 6), (8, 5), (8, 4), (9.5, 3), watch=watch)
    assert "since step 10 loss has risen from 7 to 9.5 on held-out images" in watch.told
    assert "it fell from 6 to 3 on training images" in watch.told


def test_a_run_that_goes_on_is_told_at_the_same_step_and_not_again():
    first = Overfitting()
    assert told((9, 9), (7, 6), (8, 5), (8, 4), watch=first) == []
    again = Overfitting(**json.loads(json.dumps(asdict(first))))
    assert told((9, 3), (9, 2), watch=again) == [0]
    assert told((9, 3), watch=Overfitting(**asdict(again))) == []


def test_a_discriminator_that_takes_held_out_images_for_samples_is_told():
    watch = Overfitting()
    gaps = [0.6, 0.6, 0.4, 0.6, 0.6, 0.6]
    assert ["60%" in watch.update(step, {"eval/logits_gap": gap}) for step, gap in enumerate(gaps)] == 5 * [False] + [
        True
    ]


def test_copies_are_told_where_there_are_more_of_them_than_among_held_out_images():
    assert copying({"eval/copied_pct": 4.35, "eval/copied_pct_floor": 0.05}) == [
        "4.35 % of the samples copy a training image, against 0.05 % of held-out images (eval/copied_pct). "
        "Use more images, or end training earlier."
    ]
    assert copying({"eval/copied_pct": 4.35, "eval/copied_pct_floor": 3.0}) == []  # the data repeat themselves
    assert copying({"eval/fid": 1.0}) == []
