"""Directions against closed forms: a linear generator, points with known components, classes with known means."""

import math

import pytest
import torch

from lightning_gen.metrics.directions import (
    axes,
    class_differences,
    matched,
    nearest_factors,
    principal_components,
    random_directions,
    rank_agreement,
    regressed_components,
    sefa,
)


@pytest.fixture
def linear():
    """A matrix [30, 6] with the singular values 6, 5, ..., 1, and its right singular vectors [6, 6]."""
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(size, 6)).Q for size in (30, 6))
    return left @ torch.arange(6.0, 0, -1).diag() @ right.T, right.T


def cosines(found, expected):
    return (found * expected).sum(dim=1).abs()


def test_sefa_finds_the_right_singular_vectors(linear):
    matrix, expected = linear
    found = sefa(matrix, 4)
    assert cosines(found.vectors, expected[:4]).min() > 1 - 1e-5
    torch.testing.assert_close(found.importance, torch.tensor([36.0, 25, 16, 9]) / 91)
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()  # signs do not vary


@pytest.mark.parametrize("count", [20, 4000])  # fewer and more points than features
def test_ganspace_of_a_linear_layer_is_sefa(linear, count):
    # Härkönen et al. 2020 and Shen & Zhou 2021 agree where the features are linear in codes from N(0, I).
    matrix, expected = linear
    codes = torch.randn(count, 6)
    codes = codes - codes.mean(dim=0)
    codes = codes @ torch.linalg.inv(torch.linalg.cholesky(codes.T @ codes / count)).T  # covariance exactly I
    found = regressed_components(codes, codes @ matrix.T + 3, 3)
    assert cosines(found.vectors, expected[:3]).min() > 1 - 1e-4
    torch.testing.assert_close(found.importance, torch.tensor([36.0, 25, 16]) / 91)


def test_principal_components_and_axes_of_known_points():
    points = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.8, -0.6], [-0.8, 0.6]])
    found = principal_components(points, 2)
    torch.testing.assert_close(found.vectors, torch.tensor([[0.6, 0.8], [0.8, -0.6]]))
    torch.testing.assert_close(found.importance, torch.tensor([25.0, 1]) / 26)
    along = axes(points, 2)
    torch.testing.assert_close(along.vectors, torch.tensor([[0.0, 1], [1, 0]]))
    torch.testing.assert_close(along.importance, torch.tensor([16.36, 9.64]) / 26)


def test_class_differences_point_from_the_others_to_the_class():
    points = torch.tensor([[0.0, 0], [0, 2], [6, 1], [6, 1], [-6, 1]])
    found = class_differences(points, torch.tensor([0, 0, 1, 1, 2]), 3)
    torch.testing.assert_close(found.vectors[1:], torch.tensor([[1.0, 0], [-1, 0]]))
    torch.testing.assert_close(found.importance, torch.tensor([2.0, 8, 9]))
    with pytest.raises(ValueError, match="class 3 has no points"):
        class_differences(points, torch.tensor([0, 0, 1, 1, 2]), 4)


def test_factors_are_read_from_the_nearest_image():
    known = torch.eye(4).view(4, 1, 2, 2)
    factors = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    read = nearest_factors(known[[2, 0, 3]] * 0.7 + 0.1, known, factors, chunk=2)
    assert read.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_agreement_is_one_for_a_steady_factor_and_zero_for_one_that_rises_and_falls():
    steady = torch.tensor([[0, 1, 2, 3], [2, 3, 4, 7]])
    both_ways = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    constant = torch.zeros(2, 4, dtype=torch.long)
    found = rank_agreement(torch.stack([steady, both_ways, constant], dim=2))
    torch.testing.assert_close(found, torch.tensor([1.0, 0, 0], dtype=torch.double))
    torch.testing.assert_close(rank_agreement(-steady[..., None]), torch.ones(1).double())
    tied = rank_agreement(torch.tensor([[[0], [0], [1]]]))  # ranks 1.5, 1.5, 3
    torch.testing.assert_close(tied, torch.tensor([math.sqrt(3) / 2], dtype=torch.double))


def test_factors_are_matched_one_to_one():
    table = torch.tensor([[0.9, 0.8], [0.85, 0.1], [0.3, 0.3]])
    found = matched(table)
    assert found.directions == [1, 0]  # 0.85 + 0.8 is more than 0.9 + 0.3
    torch.testing.assert_close(found.agreements, torch.tensor([0.85, 0.8]))
    torch.testing.assert_close(found.gaps, torch.tensor([0.75, -0.1]))


def test_random_directions_are_orthonormal():
    found = random_directions(7, 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found @ found.T, torch.eye(4))
