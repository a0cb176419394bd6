"""Copies are caught, new images are not."""

import pytest
import torch
from scipy.stats import mannwhitneyu

from lightning_gen.metrics.memorization import (
    Nearness,
    authenticity,
    mann_whitney_z,
    neighbour_picture,
)
from lightning_gen.metrics.memorization import (
    memorization as score,
)


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def memorization(fake, train, held_out):
    return score(Nearness.of(fake, train), Nearness.of(held_out, train))


def test_fresh_draws_pass():
    values = memorization(normal(400, 8, 0), normal(1000, 8, 1), normal(400, 8, 2))
    assert values["nearest_train_ratio"] == pytest.approx(1, abs=0.1)
    assert abs(values["data_copying"]) < 3
    assert values["copied_pct"] == values["copied_pct_floor"] == 0
    assert values["auth_pct"] == pytest.approx(values["auth_pct_floor"], abs=8)


def test_copies_fail():
    train = normal(1000, 8, 1)
    values = memorization(train[:400], train, normal(400, 8, 2))
    assert values["nearest_train_ratio"] < 1e-6
    assert values["data_copying"] < -20
    assert values["auth_pct"] == 0
    slightly = memorization(train[:400] + 0.01 * normal(400, 8, 3), train, normal(400, 8, 2))
    assert slightly["nearest_train_ratio"] < 0.1
    assert slightly["auth_pct"] < 5
    assert (slightly["copied_pct"], slightly["copied_pct_floor"]) == (100, 0)


def test_authenticity_by_hand():
    train = torch.tensor([[0.0], [1.0], [10.0]])  # nearest others at 1, 1, 9
    fake = torch.tensor([[0.1], [-2.0], [12.0], [30.0]])  # at 0.1 of 0: no; 2: yes; 2 of 10: no; 20: yes
    assert authenticity(fake, train) == 50.0


def test_a_copy_is_three_times_closer_to_one_training_image_than_to_all_others():
    train = torch.tensor([[0.0], [1.0], [10.0]])
    fake = torch.tensor([[0.24], [0.26], [9.0], [30.0]])  # to the nearest and the next: 0.24 and 0.76: a copy; 0.26
    assert Nearness.of(fake, train).copies == 50.0  # and 0.74: none; 1 and 8: a copy; 20 and 29: none


def test_mann_whitney_equals_scipy():
    x, y = (normal(200, 1, 0)[:, 0] * 3).round(), (normal(150, 1, 1)[:, 0] * 3 + 1).round()  # with ties
    theirs = mannwhitneyu(x.numpy(), y.numpy(), alternative="greater", use_continuity=False, method="asymptotic")
    z = mann_whitney_z(x.double(), y.double())
    assert torch.distributions.Normal(0, 1).cdf(torch.tensor(-z)).item() == pytest.approx(theirs.pvalue, rel=1e-4)


def test_neighbour_picture_puts_the_nearest_first():
    train = (torch.arange(5) * 50).to(torch.uint8).view(5, 1, 1, 1).expand(5, 1, 2, 2).contiguous()
    features = train[:, 0, 0, :1].float()
    fake = torch.full((1, 1, 2, 2), 160 / 255)
    picture = neighbour_picture(fake, torch.tensor([[160.0]]), train, features)
    assert picture.images.shape == (4, 1, 2, 2)
    assert picture.images[:, 0, 0, 0].tolist() == [160, 150, 200, 100]
