"""Filtered doubling and halving, by their definitions."""

import pytest
import torch

from lightning_gen.networks import resampling

TAPS = [(1, 2, 1), (1, 3, 3, 1)]


@pytest.mark.parametrize("taps", TAPS)
def test_inside_a_constant_stays(taps):
    kernel, ones = resampling.kernel(taps), torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(resampling.double(ones, kernel)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    torch.testing.assert_close(resampling.halve(ones, kernel)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


def test_bilinear_doubling_copies_and_averages():
    line = torch.tensor([1.0, 3.0, 7.0]).expand(1, 1, 3, -1)
    inner = resampling.double(line, resampling.kernel((1, 2, 1)))[0, 0, 3]
    torch.testing.assert_close(inner, torch.tensor([0.5, 1.0, 2.0, 3.0, 5.0, 7.0]))


def test_four_taps_doubling():
    """Each new pixel is 3/4 of the nearest and 1/4 of the next one."""
    line = torch.tensor([1.0, 5.0, 9.0]).expand(1, 1, 4, -1)
    inner = resampling.double(line, resampling.kernel((1, 3, 3, 1)))[0, 0, 4]
    torch.testing.assert_close(inner, torch.tensor([0.75, 2.0, 4.0, 6.0, 8.0, 6.75]))


def test_halving_is_the_adjoint_of_doubling():
    """<double(x), y> = 4 <x, halve(y)> for the symmetric four taps."""
    torch.manual_seed(0)
    kernel = resampling.kernel((1, 3, 3, 1))
    x, y = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 8, 12)
    left, right = (resampling.double(x, kernel) * y).sum(), 4 * (x * resampling.halve(y, kernel)).sum()
    torch.testing.assert_close(left, right)
