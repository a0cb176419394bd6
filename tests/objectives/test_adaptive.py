"""Adaptive discriminator augmentation: its transformations by their effects, its probability by hand."""

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.objectives import adversarial
from lightning_gen.objectives.adaptive import GROUPS, AdaptiveAugment
from lightning_gen.objectives.augmentation import DiffAugment
from lightning_gen.randomness import StepNoise


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(4, 3, 16, 16)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_probability_images_come_back_to_the_bit(images, channels):
    given = images[:, :channels]
    assert torch.equal(AdaptiveAugment(groups=dict.fromkeys(GROUPS, 1.0))(given, StepNoise(0)), given)


@pytest.mark.parametrize("group", [*GROUPS, None])
@pytest.mark.parametrize("channels", [1, 3])
def test_with_probability_one_every_image_is_another(images, group, channels):
    given = images[:1, :channels].expand(32, -1, -1, -1)
    augment = AdaptiveAugment(groups=dict.fromkeys(GROUPS, 1.0) if group is None else {group: 1.0}, p=1.0)
    result = augment(given, StepNoise(0))
    assert result.shape == given.shape
    assert result.isfinite().all()
    assert torch.equal(result, augment(given, StepNoise(0)))
    assert (result - given).flatten(1).abs().amax(dim=1).gt(1e-3).sum() >= 28  # few flips, turns and moves are none


def test_pixel_moves_keep_the_pixels():
    """Away from the mirrored border, every value is one of the image's."""
    image = torch.arange(256.0).view(1, 1, 16, 16).expand(50, -1, -1, -1) / 256
    result = AdaptiveAugment(groups={"blit": 1.0}, p=1.0)(image, StepNoise(1)) * 256
    torch.testing.assert_close(result, result.round(), atol=1e-3, rtol=0)


def test_each_transformation_happens_with_probability_p():
    """No brightness, contrast, flip or hue and saturation, which grey images do not show: (1 - p)^2 (1 - p / 2)."""
    image = torch.rand(1, 1, 4, 4).expand(4000, -1, -1, -1)
    for factor, p in ((1.0, 0.4), (0.5, 0.8)):
        moved = AdaptiveAugment(groups={"colour": factor}, p=p)(image, StepNoise(0)).sub(image)
        same = moved.flatten(1).abs().amax(dim=1) < 1e-6
        assert float(same.float().mean()) == pytest.approx(0.6 * 0.6 * 0.8, abs=0.03)


def test_augmented_images_have_two_derivatives(images):
    given = images.clone().requires_grad_()
    augment = AdaptiveAugment(p=0.8, groups=dict.fromkeys(GROUPS, 1.0))
    (gradient,) = torch.autograd.grad(augment(given, StepNoise(0)).pow(3).sum(), given, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), given)
    assert second.isfinite().all()
    assert second.any()


def test_p_follows_the_sign_of_the_discriminator_on_real_images():
    augment = AdaptiveAugment(target=0.6, speed_images=400)
    sure, unsure = (
        torch.tensor([3.0] * 18 + [-9.0] * 2),
        torch.tensor([0.1] * 15 + [-0.1] * 5),
    )  # mean signs 0.8 and 0.5
    signs, p, expected = 0.0, 0.0, []
    for logits, sign in [(sure, 0.8)] * 12 + [(unsure, 0.5)] * 12:
        signs += (sign - signs) / 4
        p = max(p + (0.05 if signs > 0.6 else -0.05), 0)
        expected.append(p)
        augment.follow(logits, 0.0)
        assert float(augment.p) == pytest.approx(p, abs=1e-5)
    assert max(expected) == pytest.approx(0.55)  # 11 batches above the target: 5th to 15th
    assert expected[-1] == pytest.approx(0.1)


def test_p_stays_between_zero_and_one_and_without_a_target_where_it_is():
    augment, fixed = AdaptiveAugment(speed_images=8), AdaptiveAugment(target=None, p=0.3)
    for sign, end in ((1, 1.0), (-1, 0.0)):
        for _ in range(20):
            augment.follow(sign * torch.ones(4), 0.0)
        assert float(augment.p) == end
    fixed.follow(torch.ones(4), None)
    assert float(fixed.p) == pytest.approx(0.3)


def test_p_is_steered_by_the_decision_boundary_of_the_loss():
    """Least squares asks for 1 and 0: the boundary is 0.5, and a discriminator at chance must not raise p."""
    for loss, logits, rises in (
        (adversarial.LeastSquares(), [0.45, 0.55], False),  # half of the real images on each side
        (adversarial.LeastSquares(), [0.9, 1.1], True),
        (adversarial.Hinge(), [0.45, 0.55], True),
        (adversarial.NonSaturating(), [-0.1, 0.1], False),
    ):
        augment = AdaptiveAugment(p=0.5, speed_images=1000)
        for _ in range(20):
            augment.follow(torch.tensor(logits), loss.threshold)
        assert (float(augment.p) > 0.5) == rises


@pytest.mark.parametrize("name", ["Wasserstein", "RelativisticPaired", "RelativisticAverage"])
def test_a_loss_that_only_compares_has_no_boundary(name):
    """Any constant may be added to its logits: the loss stays the same, the signs do not."""
    loss, real, fake = getattr(adversarial, name)(), torch.randn(6), torch.randn(6)
    for c in (-5.0, 5.0):
        torch.testing.assert_close(loss.discriminator(real + c, fake + c), loss.discriminator(real, fake))
    with pytest.raises(UserError, match=r"model/loss=\w+ has no boundary.*model\.augment\.target=null"):
        AdaptiveAugment().check(loss)
    AdaptiveAugment(target=None, p=0.3).check(loss)
    DiffAugment(["color"]).check(loss)


def test_what_was_observed_is_saved_with_p():
    augment, other = AdaptiveAugment(p=0.25), AdaptiveAugment()
    augment.follow(torch.ones(5), 0.0)
    other.load_state_dict(augment.state_dict())
    assert (float(other.p), float(other.mean_sign)) == (float(augment.p), 0.25)
    assert other.p != 0


def test_colours_of_other_channels():
    with pytest.raises(UserError, match=r"groups\.colour=0"):
        AdaptiveAugment()(torch.rand(2, 4, 8, 8), StepNoise(0))


@pytest.mark.parametrize(("groups", "message"), [({"colur": 1.0}, "Did you mean 'colour'"), ({"blit": 0.0}, "all 0")])
def test_groups_that_make_no_sense(groups, message):
    with pytest.raises(UserError, match=message):
        AdaptiveAugment(groups=groups)
