"""Metrics on features with known answers: KID, precision/recall/density/coverage, Inception score, FID-infinity."""

import math

import numpy as np
import pytest
import torch

from lightning_gen.metrics import neighbours
from lightning_gen.metrics.class_metrics import class_balance, inception_score, per_class_frechet
from lightning_gen.metrics.coverage import precision_recall_density_coverage
from lightning_gen.metrics.frechet import Moments, frechet_distance, frechet_infinity
from lightning_gen.metrics.kernel_distance import kernel_distance, polynomial_mmd
from lightning_gen.metrics.neighbours import nearest, radii


def normal(n, d, seed, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale + shift


def test_nearest_neighbours_by_hand(monkeypatch):
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    distances, indices = nearest(torch.tensor([[0.9, 0.0], [9.0, 3.0]]), points, k=2)
    assert indices.tolist() == [[1, 0], [2, 1]]
    expected = [[0.1, 0.9], [5.0, math.hypot(8, 3)]]
    torch.testing.assert_close(distances, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7)
    assert radii(points, 1).tolist() == [1, 1, 4]
    assert radii(points, 2).tolist() == [5, 4, 5]
    x = normal(50, 3, 0)
    whole = nearest(x, x, 3)
    monkeypatch.setattr(neighbours, "BLOCK", 7 * 50)  # the last block is smaller
    torch.testing.assert_close(nearest(x, x, 3), whole, rtol=1e-9, atol=1e-7)
    with pytest.raises(ValueError, match="3 nearest"):
        radii(points, 3)


def test_neighbours_that_float32_cannot_tell_apart_are_in_order():
    points = 1 + 1e-4 * torch.rand(300, 64, generator=torch.Generator().manual_seed(0))
    points[40], points[41] = points[7], points[7] + 1e-6  # a duplicate, and what is nearly one
    distances = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for k in (1, 3):
        values, index = nearest(points, points, k, skip=torch.arange(300))
        expected, order = distances.fill_diagonal_(torch.inf).sort(dim=1, stable=True)
        torch.testing.assert_close(values, expected[:, :k], rtol=1e-9, atol=1e-12)
        assert torch.equal(index, order[:, :k])


def test_duplicates_are_at_distance_zero_far_from_the_origin():
    x = normal(200, 64, 0, shift=1000.0)
    distances, indices = nearest(x, x)
    assert indices[:, 0].tolist() == list(range(200))
    assert distances.max() < 1e-5


def test_precision_recall_density_coverage_on_a_line():
    # Real balls of radius 1 (k=1) around 0, 1, 2, 3; samples at 0.5 (in two), 2.9 (in two), 9 and 9.5 (in none).
    real = torch.arange(4.0)[:, None]
    fake = torch.tensor([[0.5], [2.9], [9.0], [9.5]])
    values = precision_recall_density_coverage(fake, real, k=1)
    assert values["precision"] == 0.5
    assert values["density"] == pytest.approx((2 + 2) / 4)
    assert values["coverage"] == 1.0  # each real ball holds one of them
    assert values["recall"] == 1.0  # the samples' radii are 2.4, 2.4, 0.5, 0.5
    far = precision_recall_density_coverage(fake + 100, real, k=1)
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


@pytest.mark.parametrize(("n", "m", "d", "k"), [(300, 200, 8, 5), (150, 250, 64, 3)])
def test_equals_the_prdc_package(n, m, d, k, monkeypatch):
    prdc = pytest.importorskip("prdc")
    monkeypatch.setattr(neighbours, "BLOCK", 64 * 200)
    fake, real = normal(n, d, 0, 0.9), normal(m, d, 1).relu()
    theirs = prdc.compute_prdc(real.double().numpy(), fake.double().numpy(), k)
    assert precision_recall_density_coverage(fake, real, k) == pytest.approx(theirs, abs=1e-12)


def test_kid_of_two_points_a_side_by_hand():
    # d = 1: k(x, y) = (xy + 1)^3. x = {0, 1}, y = {1, 2}: k(0,1) + k(1,2) - 2 mean(1, 1, 8, 27) = 1 + 27 - 18.5.
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert float(polynomial_mmd(x, y)) == pytest.approx(1 + 27 - 18.5)


def test_kid_is_unbiased():
    values = [float(polynomial_mmd(normal(20, 4, 2 * i), normal(20, 4, 2 * i + 1))) for i in range(400)]
    error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0


def test_kid_equals_torchmetrics_on_the_same_subsets():
    from torchmetrics.image.kid import poly_mmd

    fake, real = normal(60, 16, 0, 1.3), normal(60, 16, 1)
    theirs = poly_mmd(real.double(), fake.double())
    mean, std = kernel_distance(fake, real, subsets=3, subset_size=60)  # each subset is everything
    assert mean == pytest.approx(float(theirs), rel=1e-9)
    assert std == pytest.approx(0, abs=1e-9)


def test_kid_subsets_are_seeded_and_leave_the_global_generator():
    fake, real = normal(100, 4, 0, 1.3), normal(100, 4, 1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a, b = (kernel_distance(fake, real, subsets=20, subset_size=30, seed=s) for s in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert kernel_distance(fake, real, subsets=20, subset_size=30, seed=0) == a != b
    full = float(polynomial_mmd(fake, real))
    assert a[0] == pytest.approx(full, abs=3 * a[1] / math.sqrt(20))


def test_inception_score_known_values():
    sure = torch.eye(5).repeat(20, 1) * 100  # confident, all classes alike: K
    assert inception_score(sure, splits=1) == pytest.approx((5.0, 0.0), abs=1e-6)
    assert inception_score(torch.zeros(40, 5), splits=4) == pytest.approx((1.0, 0.0), abs=1e-9)
    one_class = torch.eye(5)[:1].repeat(40, 1) * 100
    assert inception_score(one_class, splits=4)[0] == pytest.approx(1.0)


def test_inception_score_equals_torch_fidelity():
    metric = pytest.importorskip("torch_fidelity.metric_isc")
    logits = normal(500, 10, 0, 3.0)
    theirs = metric.isc_features_to_metric(logits, splits=1)["inception_score_mean"]
    assert inception_score(logits, splits=1)[0] == pytest.approx(theirs, rel=1e-9)


def test_per_class_distance_and_balance():
    labels = torch.arange(300) % 3
    real = normal(300, 4, 0) + 10 * labels[:, None]
    fake = normal(300, 4, 1) + 10 * labels[:, None]
    fake[labels == 1] += 2.0  # |shift|^2 = 4 * 2^2
    keep = labels != 2
    distances = per_class_frechet(fake[keep], labels[keep], real, labels, 3)
    assert sorted(distances) == [0, 1]
    assert distances[1] - distances[0] == pytest.approx(16, rel=0.2)
    assert class_balance(labels[keep], labels, 3) == (pytest.approx(1 / 3), 1)
    assert class_balance(labels, labels, 3) == (0.0, 0)


def test_frechet_infinity_takes_away_the_bias():
    d = 32
    truth = Moments.from_statistics(torch.zeros(d), torch.eye(d), 10**9)
    samples = normal(2000, d, 0)
    biased = frechet_distance(Moments.of(samples), truth)
    unbiased = frechet_infinity(samples, truth)
    assert biased == pytest.approx(d / 2000 + d * (d + 1) / (4 * 2000), rel=0.1)  # to first order in 1/n
    assert abs(unbiased) < biased / 5
    shifted = frechet_infinity(samples + 1, truth)
    assert shifted == pytest.approx(d, rel=0.03)
