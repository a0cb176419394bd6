"""Penalties on logits, against the authors' formulas."""

import pytest
import torch
from torch import nn

from lightning_gen.errors import UserError
from lightning_gen.objectives import logit_penalties
from lightning_gen.objectives.penalties import DiscriminatorPass
from lightning_gen.randomness import StepNoise
from tests.objectives.test_penalties import FAKE, REAL, linear, seen


def lecam_values(**options):
    """Three updates of LeCam at a decay of 0.9: the values [2] of the last one."""
    penalty = logit_penalties.LeCam(1.0, decay=0.9, **options).double()
    for real, fake in (([1.0, 3.0], [-1.0, 0.0]), ([0.5, 0.5], [0.0, -2.0]), ([1.0, -1.0], [0.5, -0.5])):
        logits = [torch.tensor(side, dtype=torch.float64) for side in (real, fake)]
        value = penalty(DiscriminatorPass(REAL, FAKE, *logits, linear, nn.Linear(2, 1), StepNoise(0)))
    return penalty, value.tolist()


def test_lecam_is_that_of_the_authors_code():
    """`lecam_loss.py` of google/lecam-gan. Means on real images 2, 0.5, 0 and on generated ones -0.5, -1, 0; after
    three updates a_R = 0.1 (0.81 * 2 + 0.9 * 0.5) / (1 - 0.9^3) and a_F = 0.1 (-0.81 * 0.5 - 0.9) / (1 - 0.9^3)."""
    a_real, a_fake = 0.207 / 0.271, -0.1305 / 0.271
    above, below = (1 - a_fake, -1 - a_fake), (a_real - 0.5, a_real + 0.5)
    penalty, value = lecam_values()
    assert value == pytest.approx([max(a, 0) ** 2 + max(b, 0) ** 2 for a, b in zip(above, below, strict=True)])
    assert {"anchors", "updates"} <= set(penalty.state_dict())  # a resumed run goes on with them


def test_lecam_without_the_positive_parts_is_the_papers():
    """Eq. 6, and without a correction of its start the running mean is 0.271 times as large."""
    _, value = lecam_values(rectified=False, debias=False)
    above, below = (1 + 0.1305, -1 + 0.1305), (0.207 - 0.5, 0.207 + 0.5)
    assert value == pytest.approx([a**2 + b**2 for a, b in zip(above, below, strict=True)])


def test_the_first_anchor_of_lecam_is_the_first_mean():
    value = logit_penalties.LeCam(1.0).double()(seen(linear))
    expected = (linear(REAL) - linear(FAKE).mean()).clamp(min=0) ** 2 + (linear(REAL).mean() - linear(FAKE)).clamp(
        min=0
    ) ** 2
    torch.testing.assert_close(value, expected)


def test_consistency_is_zero_for_what_shifts_do_not_change():
    def brightness(images):
        return images.flatten(1).sum(dim=1)

    inside = torch.zeros(5, 1, 9, 9, dtype=torch.float64)
    inside[:, :, 4, 4] = torch.linspace(0.1, 1, 5, dtype=torch.float64)[:, None]
    penalty = logit_penalties.Consistency(10.0, shift=2, flip=True, fake_weight=5.0)
    assert penalty(seen(brightness, inside, inside)).tolist() == pytest.approx([0.0] * 5)

    def corner(images):
        return images[:, 0, 4, 4]

    moved = penalty(seen(corner, inside, inside))
    expected = 15 * inside[:, 0, 4, 4] ** 2  # where it moved away, in both passes
    assert all(
        float(m) in (0.0, pytest.approx(float(e)), pytest.approx(float(e) * 2 / 3), pytest.approx(float(e) / 3))
        for m, e in zip(moved, expected, strict=True)
    )
    assert moved.sum() > 0


def test_consistency_mirrors_at_the_border():
    """As StudioGAN's `apply_diffaug4cr`; with zeros, half of a white image would turn black."""
    white, ramp = torch.ones(40, 1, 8, 8), torch.arange(8.0).expand(200, 1, 8, -1)
    assert (logit_penalties.Consistency(1.0, shift=4).transformed(white, StepNoise(0)) == 1).all()
    assert (logit_penalties.Consistency(1.0, shift=4, padding="zeros").transformed(white, StepNoise(0)) == 0).any()
    moved = logit_penalties.Consistency(1.0, shift=2).transformed(ramp, StepNoise(0))[:, 0, 0]
    mirrored = torch.tensor([2.0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 6, 5])
    assert {tuple(row) for row in moved.tolist()} == {tuple(mirrored[i : i + 8].tolist()) for i in range(5)}
    with pytest.raises(UserError, match=r"consistency\.shift=8 must be smaller than the sides .* are 8x8"):
        logit_penalties.Consistency(1.0, shift=8).transformed(white, StepNoise(0))
