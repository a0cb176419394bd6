"""Points of the plane: where they lie, and what cannot be done with them."""

import math

import numpy as np
import pytest
import torch

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.sources.points import KINDS, gaussians
from lightning_gen.errors import UserError
from lightning_gen.metrics.points import mode_metrics
from lightning_gen.networks.conv import ConvEncoder
from lightning_gen.networks.shapes import POINTS
from lightning_gen.pictures import grid


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_images_of_two_pixels_drawn_once_for_good(kind):
    splits = gaussians(Decoding(), kind, 2000, 500)
    assert (len(splits.train), len(splits.test)) == (2000, 500)
    assert splits.train.image_shape == POINTS
    assert splits.train.images.min() >= 0
    assert splits.train.images.max() <= 1
    assert torch.equal(splits.test.images, gaussians(Decoding(), kind, 2000, 500).test.images)
    assert not torch.isin(splits.test.images.flatten(), splits.train.images.flatten()).all()


@pytest.mark.parametrize(("kind", "count"), [("ring", 8), ("grid", 25)])
def test_the_modes_are_where_the_papers_put_them(kind, count):
    data = gaussians(Decoding(), kind, 50_000, 2).train
    metrics = mode_metrics(data.images.flatten(1), data.modes.centres, data.modes.std)
    assert metrics["modes_found"] == count == len(data.classes)
    assert metrics["good_samples"] == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    for label in range(count):
        mode = data.images[data.labels == label].flatten(1)
        assert torch.allclose(mode.mean(0), data.modes.centres[label], atol=5 * data.modes.std / len(mode) ** 0.5)
    if kind == "ring":
        radius = (data.modes.centres - 0.5).norm(dim=1) * 3  # [-1.5, 1.5] is the unit square
        assert torch.allclose(radius, torch.ones(8))


def test_the_moons_and_the_roll_follow_their_curves():
    moons = gaussians(Decoding(), "two_moons", 20_000, 2).train
    points = (moons.images.flatten(1) - 0.5) * 4 + torch.tensor([0.5, 0.25])
    radius = points[moons.labels == 0].norm(dim=1)
    assert radius.mean() == pytest.approx(1, abs=0.005)
    assert radius.std() == pytest.approx(0.05, abs=0.003)
    roll = (gaussians(Decoding(), "swiss_roll", 20_000, 2).train.images.flatten(1) - 0.5) * 30
    assert roll.norm(dim=1).quantile(0.5) == pytest.approx(3 * math.pi, abs=0.15)


def test_classes_of_points_keep_their_modes():
    data = ImageDataModule("gaussians", gaussians, kind="grid", num_points=1000, num_test=100, classes=[3, 0])
    centres = gaussians(Decoding(), "grid", 100, 100).train.modes.centres
    assert torch.equal(data.train.modes.centres, centres[[3, 0]])
    distance = (data.train.images.flatten(1) - data.train.modes.centres[data.train.labels]).norm(dim=1)
    assert distance.max() < 0.05


def test_points_are_drawn_as_a_scatter_plot():
    """One point: blue where it belongs between the axes, y upwards."""
    low, high = (blue_middle(grid(torch.full((1, 1, 1, 2), place), columns=8)) for place in (0.0, 1.0))
    found = blue_middle(grid(torch.tensor([0.25, 0.75]).view(1, 1, 1, 2), columns=8))
    torch.testing.assert_close((found - low) / (high - low), torch.tensor([0.75, 0.25]), atol=0.01, rtol=0)


def blue_middle(picture):
    """The middle (row, column) of the blue pixels."""
    red, _, blue = torch.tensor(np.asarray(picture)).int().unbind(dim=2)
    return ((blue - red) > 20).nonzero().float().mean(dim=0)


def test_what_is_for_images_only_is_refused():
    with pytest.raises(UserError, match="use networks=mlp"):
        ConvEncoder(POINTS)
    with pytest.raises(UserError, match="holds points or rows, not images"):
        ImageDataModule("gaussians", gaussians, size=8).load()
    with pytest.raises(UserError, match=r"dataset\.kind=rings.*Did you mean 'ring'"):
        gaussians(Decoding(), "rings")
    with pytest.raises(UserError, match=r"dataset\.num_points=1"):
        gaussians(Decoding(), "ring", 1)
