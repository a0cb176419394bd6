"""Augmentations by their known effects."""

import math

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.objectives import augmentation, warping
from lightning_gen.objectives.augmentation import DiffAugment
from lightning_gen.randomness import StepNoise


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(4, 3, 16, 16)


def ones(value=1.0):
    return torch.full((4,), value)


class Fixed:
    """Noise that is always the same number."""

    def __init__(self, value):
        self.value = value

    def uniform(self, shape, device):
        return torch.full(shape, self.value)


# -- DiffAugment ------------------------------------------------------------------------------------------------


def test_color_in_the_middle_changes_nothing_and_at_the_ends_what_the_paper_says(images):
    torch.testing.assert_close(augmentation.color(images, Fixed(0.5)), images)
    dark = augmentation.color(images, Fixed(0.0))  # brightness -0.5 of [-1, 1], no saturation, half the contrast
    grey = images.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(dark, (mean + (grey - mean) / 2 - 0.25).expand_as(images))


def test_translation_moves_by_up_to_an_eighth_and_fills_with_grey(images):
    moved = augmentation.translation(images, Fixed(0.999))
    torch.testing.assert_close(moved[:, :, :-2, :-2], images[:, :, 2:, 2:])
    assert (moved[:, :, -2:] == 0.5).all()
    torch.testing.assert_close(augmentation.translation(images, Fixed(0.5)), images)


@pytest.mark.parametrize(
    ("size", "most", "hidden"), [(28, 4, 14), (32, 4, 16), (8, 1, 4), (20, 3, 10), (7, 1, 4), (5, 1, 3)]
)
def test_moves_and_holes_are_rounded_as_in_the_authors_code(size, most, hidden):
    """int(size / 8 + 0.5) and int(size / 2 + 0.5) pixels: mit-han-lab/data-efficient-gans, DiffAugment_pytorch.py."""
    image = torch.arange(1.0, size + 1).expand(1, 1, size, -1)
    for draw, step in ((0.0, most), (0.999, -most)):  # the image to the right, to the left
        moved = augmentation.translation(image, Fixed(draw))[0, 0, size // 2]
        inner = slice(most, size - most)
        assert torch.equal(moved[inner], image[0, 0, 0, inner] - step)
    holes = (augmentation.cutout(torch.ones(400, 1, size, size), StepNoise(0)) == 0.5).sum(dim=(1, 2, 3))
    assert int(holes.max()) == hidden**2


def test_cutout_hides_a_quarter_or_less_at_the_border(images):
    hidden = (augmentation.cutout(images, StepNoise(0)) == 0.5).all(dim=1)
    assert hidden.sum(dim=(1, 2)).le(64).all()
    corner = augmentation.cutout(images, Fixed(0.0)) == 0.5
    assert corner[:, :, :4, :4].all()
    assert corner.sum() == 4 * 3 * 16
    middle = augmentation.cutout(images, Fixed(0.5)) == 0.5
    assert middle[:, :, 4:12, 4:12].all()
    assert middle.sum() == 4 * 3 * 64


def test_cutout_is_uniform_over_positions():
    images = torch.ones(4000, 1, 8, 8)
    hidden = (augmentation.cutout(images, StepNoise(0)) == 0.5).float().mean(dim=(0, 1))
    inner = hidden[2:6, 2:6]  # reached by 4 x 4 of 9 x 9 centres
    torch.testing.assert_close(inner, torch.full((4, 4), 16 / 81), atol=0.03, rtol=0)


def test_diffaugment_draws_anew_for_each_image_and_reproducibly(images):
    augment, same = DiffAugment(["color", "translation", "cutout"]), images[:1].expand(4, -1, -1, -1)
    first, again = augment(same, StepNoise(3)), augment(same, StepNoise(3))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1])
    ones_, zeros = augment(torch.ones(4, 1, 8, 8), StepNoise(0)), augment(torch.zeros(4, 1, 8, 8), StepNoise(0))
    assert ones_.shape == zeros.shape == (4, 1, 8, 8)


def test_unknown_policy():
    with pytest.raises(UserError, match=r"model\.augment\.policy: colour .*Did you mean 'color'"):
        DiffAugment(["colour"])


# -- the maps ---------------------------------------------------------------------------------------------------


def test_warp_moves_pixels_as_flips_turns_and_shifts_do(images):
    identity = torch.eye(3).expand(4, -1, -1)
    assert torch.equal(warping.warp(images, identity), images)
    assert torch.equal(warping.warp(images, warping.scaling(-ones(), ones())), images.flip(3))
    quarter = warping.rotation(ones(0), -ones())  # the inverse of a quarter turn clockwise
    assert torch.equal(warping.warp(images, quarter), images.rot90(-1, (2, 3)))
    torch.testing.assert_close(quarter.matrix_power(4), identity)
    moved = warping.warp(images, warping.translation(-ones(3), -ones()))  # 3 to the right and 1 down, mirrored
    torch.testing.assert_close(moved[:, :, 1:, 3:], images[:, :, :-1, :-3])
    torch.testing.assert_close(moved[:, :, 1:, :3], images[:, :, :-1, 1:4].flip(3))


@pytest.mark.parametrize("shape", [(16, 16), (9, 20)])
def test_warp_is_grid_sample(shape):
    torch.manual_seed(0)
    images, inverse = torch.rand(4, 3, *shape), torch.eye(3) + 0.3 * torch.randn(4, 3, 3)
    inverse[:, 2] = torch.tensor([0.0, 0, 1])
    inverse[:, :2, 2] *= 20
    height, width = shape
    size = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    theta = inverse[:, :2].clone()
    theta[:, :, :2] *= size / size[:, None]
    theta[:, :, 2] /= size
    grid = torch.nn.functional.affine_grid(theta, [4, 3, *shape], align_corners=True)
    expected = torch.nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=True)
    torch.testing.assert_close(warping.warp(images, inverse), expected, atol=1e-4, rtol=0)


def test_a_rotation_and_its_inverse_on_a_smooth_image():
    line = torch.linspace(-2, 2, 33)
    blob = torch.exp(-4 * line[:, None] ** 2 - 4 * (line - 0.5) ** 2).expand(4, 1, -1, -1)
    angle = ones(0.7)
    there = warping.warp(blob, warping.rotation(angle.cos(), -angle.sin()))
    back = warping.warp(there, warping.rotation(angle.cos(), angle.sin()))
    assert float((there - blob).abs().max()) > 0.2
    assert float((back - blob)[:, :, 8:-8, 8:-8].abs().max()) < 0.05  # elsewhere mirrored corners come in


def test_scaling_doubles_lengths():
    image = torch.zeros(1, 1, 9, 9)
    image[..., 3:6, 3:6] = 1  # 3 x 3
    big = warping.warp(image, warping.scaling(torch.tensor([0.5]), torch.tensor([0.5])))
    assert float(big.sum()) == pytest.approx(36, rel=0.15)


def test_colour_maps(images):
    turned = warping.recolour(images, warping.hue_rotation(ones(2 * math.pi / 3)))
    torch.testing.assert_close(turned, images.roll(1, dims=1))  # red to green, green to blue, blue to red
    flip = warping.colour_scaling(-ones(), ones())
    torch.testing.assert_close(flip @ flip, torch.eye(4).expand(4, -1, -1))
    grey = images.mean(dim=1, keepdim=True)
    torch.testing.assert_close(warping.recolour(images, flip), images - 2 * grey)
    without = warping.colour_scaling(ones(), ones(0))
    torch.testing.assert_close(warping.recolour(images, without), grey.expand_as(images))
    contrast = warping.colour_scaling(ones(1.7), ones(1.7))
    torch.testing.assert_close(warping.recolour(images, contrast), 1.7 * images)
    torch.testing.assert_close(warping.recolour(images, warping.colour_translation(ones(0.3))), images + 0.3)


def test_grey_images_are_recoloured_as_the_same_in_colour(images):
    grey = images.mean(dim=1, keepdim=True)
    maps = (
        warping.hue_rotation(ones(1.0)),
        warping.colour_scaling(-ones(), ones(3.0)),
        warping.colour_translation(ones(0.2)),
    )
    matrix = maps[0] @ maps[1] @ maps[2]
    expected = warping.recolour(grey.expand_as(images), matrix)[:, :1]
    torch.testing.assert_close(warping.recolour(grey, matrix), expected)


def test_augmented_images_have_two_derivatives(images):
    given = images.clone().requires_grad_()
    augment = DiffAugment(["color", "translation", "cutout"])
    (gradient,) = torch.autograd.grad(augment(given, StepNoise(0)).pow(3).sum(), given, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), given)
    assert second.isfinite().all()
    assert second.any()
