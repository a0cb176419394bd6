"""What happens to images: exact where it is, by its statistics where it is drawn."""

import pytest
import torch
from torch.nn import functional as F

from lightning_gen.data.transforms import BatchTransform, binarize_all, centre, random_window, resize, set_channels
from lightning_gen.errors import UserError
from lightning_gen.pictures import to_float
from lightning_gen.randomness import StepNoise


def ramp(count, height, width):
    """uint8 [N, 1, H, W]: pixel (y, x) holds 16 y + x."""
    values = torch.arange(height)[:, None] * 16 + torch.arange(width)
    return values.to(torch.uint8).expand(count, 1, height, width).contiguous()


def test_grey_levels_become_their_255ths_exactly():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_float(levels), levels.float() / 255)
    assert to_float(levels)[[0, 255]].tolist() == [0.0, 1.0]


def test_half_of_the_images_are_mirrored():
    images = ramp(4000, 2, 3)
    result = BatchTransform(flip=True)(images, StepNoise(0))
    mirrored = (result == to_float(images.flip(-1))).flatten(1).all(1)
    same = (result == to_float(images)).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.03)  # 4 standard deviations


def test_windows_are_cut_out_at_every_place_equally_often():
    images = ramp(6000, 4, 5)
    windows = random_window(images, (3, 3), StepNoise(0))
    assert windows.shape == (6000, 1, 3, 3)
    corner = windows[:, 0, 0, 0].long()
    assert torch.equal(windows[:, 0].long(), corner[:, None, None] + ramp(1, 3, 3)[0].long())
    places, counts = corner.unique(return_counts=True)
    assert places.tolist() == [0, 1, 2, 16, 17, 18]
    assert (counts - 1000).abs().max() < 130  # 4.5 standard deviations


def test_mutated_values_are_uniform_and_the_others_as_they_were():
    images = torch.full((50_000, 1, 2, 2), 255, dtype=torch.uint8)
    values = BatchTransform(mutation=0.25)(images, StepNoise(0)) * 255
    changed = values[values < 255]
    assert len(changed) / values.numel() == pytest.approx(0.25 * 255 / 256, abs=0.004)  # 4 standard deviations
    counts = torch.bincount(changed.round().long(), minlength=255)
    assert len(counts) == 255
    assert (counts - 195).abs().max() < 65  # 4.6 standard deviations


def test_dequantized_images_keep_their_levels_and_are_uniform_within():
    images = torch.arange(256, dtype=torch.uint8).repeat(200, 1)[:, None, :, None]
    values = BatchTransform(dequantize=True)(images, StepNoise(0))
    assert torch.equal((values * 256).floor(), images.float())
    assert values.min() >= 0
    assert values.max() < 1
    within = values * 256 - images
    assert within.mean() == pytest.approx(0.5, abs=0.006)
    assert within.var() == pytest.approx(1 / 12, abs=0.002)


def test_dynamic_binarization_draws_with_the_grey_value_as_probability():
    images = torch.tensor([0, 51, 128, 255], dtype=torch.uint8).view(1, 4, 1, 1).expand(20_000, 4, 1, 1)
    noise = StepNoise(0)
    noise.start(0)
    values = BatchTransform(binarize=True)(images, noise)
    assert values.unique().tolist() == [0.0, 1.0]
    means = values.mean(dim=(0, 2, 3))
    assert means[[0, 3]].tolist() == [0.0, 1.0]
    assert means[1] == pytest.approx(0.2, abs=0.012)
    assert means[2] == pytest.approx(128 / 255, abs=0.015)
    noise.start(1)
    assert not torch.equal(BatchTransform(binarize=True)(images, noise), values)  # drawn anew


def test_static_binarization_is_drawn_once_by_the_seed():
    images = torch.randint(256, (5000, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    a = binarize_all(images, 3)
    assert torch.equal(a, binarize_all(images, 3))
    assert not torch.equal(a, binarize_all(images, 4))
    assert a.unique().tolist() == [0, 255]
    assert a.float().mean() == pytest.approx(images.float().mean().item(), rel=0.02)
    assert torch.equal(a[:4500], binarize_all(images[:4500], 3))


def test_the_centre_is_the_middle_and_too_small_an_image_is_refused():
    assert centre(ramp(1, 6, 5), 2, 3)[0, 0].tolist() == [[33, 34, 35], [49, 50, 51]]
    with pytest.raises(UserError, match=r"6x5.*7x7"):
        centre(ramp(1, 6, 5), 7, 7)


def test_resizing_keeps_the_mean_and_never_squashes():
    wide = torch.zeros(2, 1, 8, 16, dtype=torch.uint8)
    wide[..., 4:12] = 200  # the square in the middle
    assert (resize(wide, 4) == 200).all()
    images = torch.randint(256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = F.interpolate(images.float(), size=(8, 8), mode="bilinear", antialias=True).round().to(torch.uint8)
    assert torch.equal(resize(images, 8), expected)
    assert torch.equal(resize(images, 16), images)


def test_channels():
    colour = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], dtype=torch.uint8).view(4, 3, 1, 1)
    assert set_channels(colour, 1).flatten().tolist() == [76, 150, 29, 9]  # ITU-R BT.601
    assert torch.equal(set_channels(set_channels(colour, 1), 3), set_channels(colour, 1).expand(4, 3, 1, 1))
    with pytest.raises(UserError, match=r"dataset\.channels=3 is not possible from 2"):
        set_channels(torch.zeros(1, 2, 4, 4, dtype=torch.uint8), 3)
