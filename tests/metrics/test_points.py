"""Modes found, good samples and the energy distance, against closed forms."""

import math

import pytest
import torch

from lightning_gen.metrics.points import PointEvaluator, energy_distance, mode_metrics

CENTRES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def normal(count, mean=0.0, dim=2, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + mean


def test_a_sample_at_three_standard_deviations_is_the_last_good_one():
    points = torch.tensor([[0.3, 0.0], [0.0, -0.3], [1.0, 0.299], [1.0, 0.301], [0.5, 0.5]])
    metrics = mode_metrics(points, CENTRES, 0.1000001)
    assert metrics == {"modes_found": 2.0, "modes_lost": 1.0, "good_samples": 0.6}


def test_of_the_mixture_itself_989_in_1000_samples_are_good():
    labels = torch.randint(3, (200_000,), generator=torch.Generator().manual_seed(1))
    metrics = mode_metrics(CENTRES[labels] + 0.01 * normal(200_000), CENTRES, 0.01)
    assert metrics["modes_found"] == 3
    assert metrics["good_samples"] == pytest.approx(1 - math.exp(-4.5), abs=0.001)  # chi square with 2 degrees


def test_samples_that_are_nowhere_find_nothing():
    assert mode_metrics(torch.full((9, 2), 7.0), CENTRES, 0.1) == {
        "modes_found": 0.0,
        "modes_lost": 3.0,
        "good_samples": 0.0,
    }
    assert mode_metrics(torch.full((9, 2), float("nan")), CENTRES, 0.1)["good_samples"] == 0.0


def test_the_energy_distance_of_two_points_is_twice_their_distance():
    x, y = torch.zeros(3, 2), torch.tensor([[3.0, 4.0]]).expand(5, 2)
    assert energy_distance(x, y) == pytest.approx(10.0, abs=1e-12)
    with pytest.raises(ValueError, match="at least 2"):
        energy_distance(x, y[:1])


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_the_energy_distance_of_two_gaussians_on_the_line(shift):
    def mean_absolute(mean, std):  # of N(mean, std^2)
        return std * math.sqrt(2 / math.pi) * math.exp(-((mean / std) ** 2) / 2) + mean * math.erf(
            mean / std / math.sqrt(2)
        )

    expected = 2 * (mean_absolute(shift, math.sqrt(2)) - mean_absolute(0.0, math.sqrt(2)))
    found = energy_distance(normal(4000, dim=1), normal(5000, mean=shift, dim=1, seed=1))
    assert found == pytest.approx(expected, abs=0.02 + 0.07 * shift)


def test_the_evaluator_says_what_it_measured():
    points = CENTRES[torch.arange(900) % 3].view(900, 1, 1, 2) + 0.01 * normal(900).view(900, 1, 1, 2).float()
    evaluator = PointEvaluator(points[:400], points[400:], (CENTRES, 0.01), num_samples=300)
    one_mode, protocol = evaluator(lambda n, generator: points[::3][torch.arange(n) % 300], ema=True)
    assert one_mode["eval/modes_found"] == 1
    assert one_mode["eval/good_samples"] > 0.95
    assert one_mode[evaluator.distance_name] > 0.2
    replay, _ = evaluator(lambda n, generator: points[torch.randint(900, (n,), generator=generator)])
    assert replay["eval/modes_found"] == 3
    assert abs(replay[evaluator.distance_name]) < 0.02
    assert abs(replay["eval/energy_distance_floor"]) < 0.02
    expected = {"n_fake": 300, "n_real": 300, "split": "test", "seed": 0, "ema": True}
    assert all(expected.items() <= protocol[name].items() for name in one_mode)
