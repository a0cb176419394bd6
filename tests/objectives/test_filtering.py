"""ADA's filters against what the authors' code gave, once, and by what filters of their kind must do."""

import json
import math
from pathlib import Path

import pytest
import torch

from lightning_gen.objectives import filtering, warping

# The first three rows of the last channel of two images in [-1, 1], from `AugmentPipe` of NVlabs/stylegan2-ada-pytorch with
# `debug_percentile` 0.3 (0.6 for the moves of whole pixels), which sets each random number to that quantile.
AUTHORS = json.loads((Path(__file__).parents[1] / "records" / "authors_augmentation.json").read_text())


def image(side):
    return (torch.arange(6.0 * side * side) * 7919 % 256 / 127.5 - 1).view(2, 3, side, side)


def check(found, name):
    torch.testing.assert_close(found[1, 2, :3].flatten(), torch.tensor(AUTHORS[name]), atol=3e-6, rtol=0)


def quantile(p):
    """p for each of two images, and that quantile of N(0, 1) over sqrt(2), as the authors' code has it."""
    return torch.full((2,), p), torch.erfinv(torch.full((2,), 2 * p - 1))


def test_moves_are_filtered_as_in_the_authors_code():
    uniform, normal = quantile(0.3)
    scale, angle = torch.exp2(0.2 * normal), (2 * uniform - 1) * math.pi
    inverse = warping.scaling(1 / scale, 1 / scale) @ warping.rotation(angle.cos(), angle.sin())
    inverse = inverse @ warping.scaling(1 / scale, scale) @ warping.translation(-normal, -normal)
    check(filtering.filtered_warp(image(8), inverse), "geometry")


def test_flips_and_turns_are_filtered_as_in_the_authors_code():
    uniform, normal = quantile(0.6)
    flip, turn = 1 - 2 * (2 * uniform).floor(), (4 * uniform).floor() * math.pi / 2
    shift, scale = (2 * uniform - 1).round(), torch.exp2(-0.2 * normal)
    inverse = warping.scaling(flip, torch.ones(2)) @ warping.rotation(turn.cos(), turn.sin())
    inverse = inverse @ warping.translation(-shift, -shift) @ warping.scaling(scale, scale)
    check(filtering.filtered_warp(image(8), inverse), "blit")


def test_bands_are_amplified_as_in_the_authors_code():
    gains = filtering.band_gains(torch.exp2(quantile(0.3)[1])[:, None].expand(2, 4))
    check(filtering.amplified(image(24), gains), "filter")


def test_cutout_is_that_of_the_authors_code():
    centre, _ = quantile(0.3)
    check(filtering.cut(image(8), torch.full((2,), 0.5), centre, centre, 0.0), "cutout")


def test_without_a_move_or_gains_the_filters_change_nothing():
    torch.manual_seed(0)
    images = torch.rand(3, 1, 8, 12)
    still = torch.eye(3).expand(3, 3, 3)
    torch.testing.assert_close(filtering.filtered_warp(images, still), images, atol=2e-6, rtol=0)
    torch.testing.assert_close(filtering.amplified(images, torch.ones(3, 4)), images, atol=2e-6, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_whole_pixels_are_moved_without_loss(shift):
    """sym6 is orthogonal: halving undoes doubling, also after a shift of whole pixels."""
    images, ones = torch.rand(2, 3, 8, 8), torch.full((2,), shift)
    inverse = warping.translation(-ones, 0 * ones)
    torch.testing.assert_close(
        filtering.filtered_warp(images, inverse), warping.warp(images, inverse), atol=2e-6, rtol=0
    )


def test_a_wave_that_the_smaller_grid_cannot_hold_is_filtered_out():
    """Shrunk to half, a checkerboard is beyond the grid's highest frequency: it becomes grey; without a filter it stays."""
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float().expand(1, 1, 16, 16)
    shrunk = warping.scaling(torch.full((1,), 2.0), torch.full((1,), 2.0))
    middle = (..., slice(6, 10), slice(6, 10))
    assert float(filtering.filtered_warp(board, shrunk)[middle].std()) < 0.05


def test_each_band_passes_its_frequencies():
    """The squared magnitudes of the four filters sum to 1 in amplitude at each frequency, and their centres rise."""
    bank = filtering.band_filters(torch.device("cpu"), torch.float64)
    response = torch.fft.rfft(bank, 512).abs()
    torch.testing.assert_close(response.sum(dim=0), torch.ones(257, dtype=torch.float64), atol=1e-9, rtol=0)
    centres = (response * torch.arange(257)).sum(dim=1) / response.sum(dim=1)
    assert centres.tolist() == sorted(centres.tolist())
    assert float(response[0, 0]) == pytest.approx(1)  # constants pass the lowest


def test_gains_keep_the_expected_power():
    """Of natural images, 10/13, 1/13, 1/13 and 1/13 in the bands, for each factor alone."""
    for band in range(4):
        factors = torch.ones(1, 4)
        factors[0, band] = 3.0
        gains = filtering.band_gains(factors)
        power = torch.tensor(filtering.POWER)
        assert float((power * gains.square()).sum()) == pytest.approx(1, abs=1e-6)
        assert float(gains[0, band] / gains[0, band - 1]) == pytest.approx(3)
