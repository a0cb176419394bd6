"""Penalties of discriminators whose gradients are known."""

import pytest
import torch
from torch import nn

from lightning_gen.errors import UserError
from lightning_gen.objectives import logit_penalties, penalties
from lightning_gen.objectives.penalties import DiscriminatorPass
from lightning_gen.randomness import StepNoise

torch.manual_seed(0)
WEIGHT = torch.randn(12, dtype=torch.float64)
REAL, FAKE = torch.rand(5, 3, 2, 2, dtype=torch.float64), torch.rand(5, 3, 2, 2, dtype=torch.float64)
NORM = float(WEIGHT.norm()) / 2  # in units of [-1, 1] the gradient is half of that in [0, 1]


def linear(images):
    return images.flatten(1) @ WEIGHT


def quadratic(images):
    """Its gradient in units of [-1, 1] is the image itself."""
    return images.flatten(1).square().sum(dim=1)


def seen(judge, real=REAL, fake=FAKE):
    return DiscriminatorPass(real, fake, judge(real), judge(fake), judge, nn.Linear(2, 1), StepNoise(0))


def test_r1_and_r2_of_a_linear_discriminator():
    for penalty in (penalties.R1(0.3), penalties.R2(0.3)):
        assert penalty(seen(linear)).tolist() == pytest.approx([0.15 * NORM**2] * 5)


def test_r1_looks_at_real_images_and_r2_at_generated_ones():
    for penalty, images in ((penalties.R1(2.0), REAL), (penalties.R2(2.0), FAKE)):
        torch.testing.assert_close(penalty(seen(quadratic)), images.flatten(1).square().sum(dim=1))


@pytest.mark.parametrize("target", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("kind", [penalties.GradientPenalty, penalties.Dragan])
def test_gradient_penalties_of_a_linear_discriminator(kind, target, one_sided):
    excess = NORM - target
    expected = 10 * (max(excess, 0) if one_sided else excess) ** 2
    penalty = kind(10.0, target=target, one_sided=one_sided)
    assert penalty(seen(linear)).tolist() == pytest.approx([expected] * 5)


def test_gradient_penalty_lies_on_the_lines_between():
    penalty = penalties.GradientPenalty(1.0)
    points = penalty.points(seen(linear))
    share = (points - REAL) / (FAKE - REAL)
    torch.testing.assert_close(share, share[:, :1, :1, :1].expand_as(share))  # one number an image
    assert share.min() >= 0
    assert share.max() < 1
    assert len(share[:, 0, 0, 0].unique()) == 5


def test_dragan_stays_around_real_images():
    """The paper's points: x + 0.5 std(x) U[0, 1), one number a pixel."""
    moved = (penalties.Dragan(1.0, interpolate=False).points(seen(linear)) - REAL) / (0.5 * REAL.std(correction=0))
    assert moved.min() >= 0
    assert moved.max() < 1
    assert len(moved.unique()) == 60


def test_dragan_interpolates_as_the_authors_code():
    """kodalinaveen3/DRAGAN: `X + alpha * (get_perturbed_batch(X) - X)`, alpha one number an image; so the mean of
    the move is that of two independent U[0, 1), 1/4 of 0.5 std(x)."""
    real = torch.rand(2000, 1, 3, 4, dtype=torch.float64)
    spread = 0.5 * real.std(correction=0)
    moved, perturbed = (
        (penalties.Dragan(1.0, interpolate=both).points(seen(linear, real, real)) - real) / spread
        for both in (True, False)
    )
    part = moved / perturbed
    torch.testing.assert_close(part, part[:, :, :1, :1].expand_as(part))
    assert float(part[:, 0, 0, 0].mean()) == pytest.approx(0.5, abs=0.02)
    assert float(moved.mean()) == pytest.approx(0.25, abs=0.01)


def test_weight_clipping_bounds_every_weight():
    net = nn.Linear(40, 3)
    penalties.WeightClipping(0.05).after_update(net)
    assert max(float(p.detach().abs().max()) for p in net.parameters()) == pytest.approx(0.05)
    assert penalties.WeightClipping(0.05)(seen(linear)).tolist() == [0.0] * 5


@pytest.mark.parametrize("kind", ["R1", "R2", "GradientPenalty", "Dragan", "LeCam", "Consistency"])
def test_gradients_for_the_weights_agree_with_finite_differences(kind):
    """Through the double backward, of a net with a curvature, in float64."""
    mixing = torch.randn(12, 6, dtype=torch.float64)

    def value(weight, bias):
        def judge(images):
            return torch.tanh(images.flatten(1) @ mixing * weight).sum(dim=1) + bias

        options = {"shift": 1} if kind == "Consistency" else {}  # images of 2 x 2 pixels
        module = logit_penalties if kind == "Consistency" else penalties
        return getattr(module, kind)(0.7, **options).double()(seen(judge)).sum()

    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    if kind == "LeCam":  # its running means have no gradient, and would follow the differences
        penalty = logit_penalties.LeCam(0.7, decay=1.0, debias=False).double()
        penalty.anchors += torch.tensor([0.3, -0.2])
        logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda r, f: penalty(DiscriminatorPass(REAL, FAKE, r, f, linear, nn.Linear(2, 1), StepNoise(0))),
            (logits, (logits * 2).detach().requires_grad_()),
        )
        return
    assert torch.autograd.gradcheck(value, (weight, bias))


def test_a_flat_discriminator_has_a_finite_gradient():
    """At a gradient of exactly 0 the root's own is not defined."""
    weight = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    penalties.GradientPenalty(10.0)(seen(lambda images: images.flatten(1) @ weight)).sum().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["R1", "R2", "GradientPenalty", "Dragan"])
def test_the_gradient_of_a_discriminator_of_codes_is_per_unit_of_a_code(kind):
    """Codes [B, Z] are not scaled as images are: a linear discriminator has the gradient of its weights."""
    real, fake = torch.randn(5, 12, dtype=torch.float64), torch.randn(5, 12, dtype=torch.float64)
    codes = DiscriminatorPass(
        real, fake, linear(real), linear(fake), linear, nn.Linear(2, 1), StepNoise(0), input_scale=1.0
    )
    squared = float(WEIGHT.square().sum())
    expected = 0.15 * squared if kind.startswith("R") else 0.3 * (squared**0.5 - 1) ** 2
    assert getattr(penalties, kind)(0.3)(codes).tolist() == pytest.approx([expected] * 5)


def test_penalties_add_up_each_at_its_interval():
    """Of a linear discriminator, whose R1 is known; what is logged stays as it was when last computed."""
    both = penalties.Penalties({"often": penalties.R1(0.3), "rarely": penalties.R1(0.2, interval=3)})
    for index in range(5):
        total = both(seen(linear), index)
        due = 0.15 + (3 * 0.1 if index % 3 == 0 else 0.0)
        assert float(total) == pytest.approx(due * NORM**2)
        latest = both.latest(penalties.DiscriminatorPass, index)
        assert float(latest["rarely"]) == pytest.approx(0.1 * NORM**2)
    assert float(penalties.Penalties({})(seen(linear), 0)) == 0


def test_a_penalty_that_returns_a_number_is_told():
    class Number(penalties.Penalty):
        def forward(self, seen):
            return 1.0

    with pytest.raises(UserError, match=r"model\.penalty\.own: Number\.forward must return a tensor"):
        penalties.Penalties({"own": Number(1.0)})(seen(linear), 0)


def test_a_step_with_a_lazy_penalty_is_known():
    both = penalties.Penalties({"always": penalties.R1(0.3), "rarely": penalties.R2(0.2, interval=4)})
    assert [both.lazy_due(range(2 * step, 2 * step + 2)) for step in range(4)] == [True, False, True, False]
    assert not penalties.Penalties({"always": penalties.R1(0.3)}).lazy_due(range(4))
