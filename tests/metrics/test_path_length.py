"""Perceptual path length where it is known: a linear generator and linear features."""

import math

import pytest
import torch

from lightning_gen.metrics.path_length import path_lengths, slerp, trimmed_mean
from lightning_gen.runs.comparison import describe
from tests.helpers import train_run


def test_a_linear_generator_with_linear_features():
    """||B A (z1 - z0)||^2 on straight lines, wherever and at whatever epsilon."""
    torch.manual_seed(0)
    a, b = torch.randn(12, 5, dtype=torch.float64), torch.randn(7, 12, dtype=torch.float64)
    start, end = torch.randn(2, 30, 5, dtype=torch.float64)
    expected = ((end - start) @ (b @ a).T).square().sum(dim=1)
    for epsilon in (1e-4, 0.5):
        found = path_lengths(start, end, lambda z: z @ a.T, lambda x: x @ b.T, epsilon=epsilon)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


def test_the_mean_over_codes_is_a_trace():
    """E ||B A (z1 - z0)||^2 = 2 ||B A||_F^2 for codes from N(0, I)."""
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(7, 5, dtype=torch.float64, generator=generator)
    start, end = torch.randn(2, 100_000, 5, dtype=torch.float64, generator=generator)
    found = path_lengths(start, end, lambda z: z @ both.T, lambda x: x)
    assert float(found.mean()) == pytest.approx(2 * float(both.square().sum()), rel=0.02)


def test_on_a_great_circle_the_length_is_the_angle():
    """With the identity for generator and features and codes of norm 1: the speed is the angle between the ends."""
    torch.manual_seed(0)
    start, end = (torch.nn.functional.normalize(torch.randn(20, 4, dtype=torch.float64), dim=1) for _ in range(2))
    angle = (start * end).sum(dim=1).acos()
    found = path_lengths(start, end, lambda z: z, lambda z: z, slerp)
    torch.testing.assert_close(found, angle.square(), rtol=1e-6, atol=0)


def test_great_circles_pass_through_their_ends_and_their_middle():
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end, atol=1e-6, rtol=0)
    torch.testing.assert_close(slerp(start, end, 0.5), torch.full((1, 2), 2 * math.sqrt(0.5)))
    torch.testing.assert_close(slerp(start, start, 0.5), start, atol=1e-3, rtol=0)  # no direction, no NaN


def test_the_extreme_hundredths_are_left_out():
    assert trimmed_mean(torch.arange(1001.0)) == 500
    assert trimmed_mean(torch.cat([torch.full((199,), 2.0), torch.tensor([1e9])])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (("model=vae", "networks=mlp"), "great circles between codes"),
        (
            ("model=gan", "networks=stylegan2", "networks.encoder.channel_base=64", "networks.encoder.channel_max=4"),
            "lines between styles",
        ),
    ],
)
def test_it_is_measured_by_the_features_of_the_evaluation(tmp_path, options, path):
    _, summary = train_run(tmp_path, *options, "evaluation.metrics=[fid,ppl]", "trainer.max_steps=1")
    assert summary["metrics"]["eval/ppl_classifier"] > 0
    protocol = summary["protocol"]["eval/ppl_classifier"]
    assert (protocol["path"], protocol["epsilon"], protocol["n_fake"]) == (path, 1e-4, 20)
    assert protocol["extractor"].startswith("classifier-digits")
    assert describe(protocol).startswith("20 samples")  # as the table at the end of training has it
