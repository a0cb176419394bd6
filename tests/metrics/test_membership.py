"""The numbers of membership inference, with intervals that hold for few images."""

import math

import pytest
import torch
from scipy.stats import norm, rankdata

from lightning_gen.metrics.membership import (
    advantage,
    auroc,
    best_threshold,
    difference,
    lira,
    proportion,
    true_positives_at,
)


def normal(count, mean=0.0, seed=0):
    return mean + torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_area_is_the_rank_statistic_with_ties_counted_half():
    members, others = (3 * normal(40, 0.5)).round(), (3 * normal(60, seed=1)).round()
    ranks = rankdata(torch.cat([members, others]).numpy())[:40]
    assert auroc(members, others).value == pytest.approx((ranks.sum() - 40 * 41 / 2) / (40 * 60), abs=1e-12)
    assert auroc(torch.ones(5), torch.ones(7)).value == 0.5


def test_the_interval_of_the_area_covers_and_is_not_empty_at_one():
    truth, covered = norm.cdf(1 / math.sqrt(2)), 0
    for seed in range(300):
        found = auroc(normal(25, 1.0, seed), normal(35, 0.0, 1000 + seed))
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 300 <= 0.99
    value, low, high = auroc(normal(20, 100.0), normal(20))
    assert (value, high) == (1.0, 1.0)
    assert 0.8 < low < 0.95


def test_the_exact_interval_of_a_proportion():
    value, low, high = proportion(0, 20)
    assert (value, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert proportion(20, 20).low == pytest.approx(0.025 ** (1 / 20))


def test_the_difference_of_proportions_of_newcombe():
    """Example (a) of his Table II."""
    assert difference((56, 70), (48, 80)) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_the_advantage_is_not_biased_upwards():
    largest, measured = [], []
    for seed in range(200):
        members, others = normal(50, seed=seed), normal(50, seed=1000 + seed)
        threshold = best_threshold(members, others)
        largest.append(float((members >= threshold).double().mean() - (others >= threshold).double().mean()))
        measured.append(advantage(members, others, seed).value)
    assert sum(largest) / 200 > 0.1
    assert abs(sum(measured) / 200) < 0.03


def test_the_advantage_of_two_normal_distributions():
    """The best threshold is in the middle, so that it is 2 Phi(d / 2) - 1."""
    found = advantage(normal(20_000, 2.0), normal(20_000, seed=1))
    assert found.value == pytest.approx(2 * norm.cdf(1) - 1, abs=0.02)
    assert found.low < 2 * norm.cdf(1) - 1 < found.high


def test_true_positives_by_hand():
    others = torch.arange(100.0)  # one false positive is allowed, so the threshold is at 98
    rate, false_alarms = true_positives_at(torch.tensor([98.0, 98.5, 99.5, 120.0, 3.0]), others, 0.01)
    assert rate.value == 3 / 5
    assert false_alarms.value == 0.01
    assert true_positives_at(torch.arange(5.0), torch.arange(99.0), 0.01) is None  # too few to show 1 %


def test_scores_of_shadow_models_remove_how_hard_an_image_is():
    """Scores: difficulty of the image, 1 if it was trained on, and noise."""
    difficulty, inside = 10 * normal(400), torch.arange(400) < 200
    shadows_inside = torch.rand(8, 400, generator=torch.Generator().manual_seed(3)) < 0.5
    shadows_inside[0] = False
    noise = 0.5 * normal(9 * 400, seed=4).view(9, 400)
    scores = difficulty + inside.double() + noise[0]
    shadows = difficulty + shadows_inside.double() + noise[1:]
    found = lira(scores, shadows, shadows_inside)
    assert auroc(scores[inside], scores[~inside]).value < 0.6
    assert auroc(found[inside], found[~inside]).value > 0.85
    assert float(found[~inside].std()) == pytest.approx(math.sqrt(1 + 1 / 4), abs=0.15)


def test_lira_by_hand():
    shadows = torch.tensor([[1.0, 5.0, 0.0], [3.0, 9.0, 0.0]])
    inside = torch.tensor([[False, True, True], [False, False, True]])
    found = lira(torch.tensor([4.0, 9.0, 0.0]), shadows, inside)
    # Image 0: mean 2; image 1: mean 9, of one model; the shared variance is 2, of image 0. Image 2 is always inside.
    torch.testing.assert_close(found[:2], torch.tensor([2 / math.sqrt(2), 0.0], dtype=torch.float64))
    assert found[2].isnan()
