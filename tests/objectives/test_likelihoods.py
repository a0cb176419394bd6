"""Every likelihood integrates, or sums, to one, and keeps its stated form."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli
from torch.distributions import Normal

from lightning_gen.errors import UserError
from lightning_gen.objectives.bounds import importance_bound
from lightning_gen.objectives.discrete_likelihoods import Categorical, LogisticMixture, bits_per_dimension
from lightning_gen.objectives.likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    OptimalGaussian,
    PixelGaussian,
)

LOGITS = [-40.0, -8.0, -0.2, -0.1001, -0.0999, -1e-4, 0.0, 1e-4, 0.05, 0.0999, 0.1001, 1.0, 15.0]


def one_pixel(values):
    return torch.as_tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("likelihood", "raw", "low", "high"),
    [
        (ContinuousBernoulli(), [0.0], 0.0, 1.0),
        (ContinuousBernoulli(), [0.05], 0.0, 1.0),
        (ContinuousBernoulli(), [-7.0], 0.0, 1.0),
        (Gaussian(sigma=0.3, learned=False), [0.4], -4.0, 5.0),
        (PixelGaussian(), [0.4, -1.0], -6.0, 7.0),
    ],
)
def test_densities_integrate_to_one(likelihood, raw, low, high):
    points = torch.linspace(low, high, 20_001, dtype=torch.float64)
    output = torch.tensor(raw, dtype=torch.float64).view(1, -1, 1, 1)
    density = likelihood.double().log_prob(output, one_pixel(points)).detach().exp()
    assert torch.trapezoid(density, points).item() == pytest.approx(1.0, abs=1e-4)


def test_continuous_bernoulli_is_that_of_torch_away_from_one_half():
    raw, images = torch.tensor([-3.0, -0.7, 1.5, 6.0]).double(), torch.rand(4).double()
    expected = TorchContinuousBernoulli(logits=raw).log_prob(images)
    found = ContinuousBernoulli().log_prob(one_pixel(raw), one_pixel(images))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        ContinuousBernoulli().mean(one_pixel(raw)).flatten(), TorchContinuousBernoulli(logits=raw).mean
    )


def test_continuous_bernoulli_is_smooth_at_one_half():
    """float32 agrees with the series' limit around lambda = 1/2: uniform, log p = 0, slope x - 1/2, mean 1/2."""
    raw = one_pixel(LOGITS).requires_grad_()
    images = torch.full_like(raw, 0.3)
    found = ContinuousBernoulli().log_prob(raw, images)
    found.sum().backward()
    exact = raw.detach().double()
    norm = torch.where(exact == 0, torch.zeros_like(exact), torch.log(torch.expm1(exact) / exact))
    torch.testing.assert_close(found.detach(), (0.3 * exact - norm).flatten().float(), atol=1e-6, rtol=1e-5)
    middle = LOGITS.index(0.0)
    assert found[middle].item() == 0.0
    assert raw.grad[middle].item() == pytest.approx(-0.2)
    assert raw.grad.isfinite().all()
    means = ContinuousBernoulli().mean(raw.detach()).flatten()
    assert means[middle].item() == 0.5
    assert (means.diff() > 0).all()


def test_pixel_gaussian_has_two_outputs():
    raw, images = torch.randn(5, 6, 2, 2), torch.rand(5, 3, 2, 2)
    mean, log_sigma = raw[:, :3], math.log(0.01) + nn.functional.softplus(raw[:, 3:] - math.log(0.01))
    likelihood = PixelGaussian(min_sigma=0.01)
    assert likelihood.channels(3) == 6
    expected = Normal(mean, log_sigma.exp()).log_prob(images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(raw, images), expected)
    lowest = likelihood.log_prob(torch.full_like(raw, -1e6), images - images - 1e6)
    torch.testing.assert_close(lowest, Normal(0.0, 0.01).log_prob(torch.zeros(5)) * 12)  # sigma is not below 0.01


def test_optimal_sigma_is_the_root_mean_square_error():
    likelihood, images = OptimalGaussian(memory=2), torch.zeros(8, 1, 4, 4)
    raw = torch.randn(8, 1, 4, 4, requires_grad=True)
    error = raw.detach().square().mean()
    value = likelihood.log_prob(raw, images)
    assert value.mean().item() == pytest.approx(-8 * (math.log(2 * math.pi * error.item()) + 1), rel=1e-5)
    # The loss is D/2 log of the mean square, whose gradient the closed form gives
    (gradient,) = torch.autograd.grad(value.mean(), raw)
    free = raw.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(-8 * free.square().mean().log(), free)
    torch.testing.assert_close(gradient, expected)
    # Held-out images are scored by the batches seen, not by their own error
    likelihood.log_prob((3 * raw), images)
    remembered = likelihood.eval().variance.item()
    assert remembered == pytest.approx(error.item() * (1 + 9) / 2, rel=1e-5)
    torch.testing.assert_close(
        likelihood.log_prob(raw, images), Normal(0.0, remembered**0.5).log_prob(raw).sum(dim=(1, 2, 3))
    )
    assert likelihood.variance.item() == remembered


@pytest.mark.parametrize(
    "bound",
    [
        importance_bound,
        lambda w: importance_bound(w.unflatten(0, (2, -1))).mean(dim=0),
        lambda w: 0.05 * w.mean(dim=0) + 0.95 * importance_bound(w),
    ],
    ids=["iwae", "miwae", "ciwae"],
)
def test_the_optimal_sigma_moves_importance_weighted_bounds(bound):
    """The gradient through sigma is part of them: it agrees with finite differences of the whole."""
    torch.manual_seed(0)
    images, likelihood = torch.rand(3, 1, 2, 2, dtype=torch.float64), OptimalGaussian().double()
    raw = torch.rand(4, 3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda raw: bound(likelihood.log_prob(raw, images)).mean(), raw)


def test_categorical_sums_to_one_over_256_values():
    raw = torch.randn(1, 256, 1, 1, dtype=torch.float64)
    values = one_pixel(torch.arange(256).double() / 255)
    found = Categorical().log_prob(raw, values)
    assert found.exp().sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(found, raw.flatten().log_softmax(0))
    expected = (raw.flatten().softmax(0) * torch.arange(256)).sum() / 255
    assert Categorical().mean(raw).item() == pytest.approx(expected.item())


def test_categorical_keeps_channels_apart():
    likelihood, images = Categorical(levels=4), torch.randint(4, (2, 3, 2, 2)) / 3
    raw = torch.randn(2, likelihood.channels(3), 2, 2)
    logits = raw.view(2, 3, 4, 2, 2)
    levels = (images * 3).round().long()
    expected = -nn.functional.cross_entropy(logits.transpose(1, 2), levels, reduction="none").sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(raw, images), expected)


@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
def test_logistic_mixture_sums_to_one_over_256_values(scale):
    raw = scale * torch.randn(1, 30, 1, 1, dtype=torch.float64)
    values = one_pixel(torch.arange(256).double() / 255)
    assert LogisticMixture().log_prob(raw, values).exp().sum().item() == pytest.approx(1.0)


def test_logistic_mixture_of_colours_sums_to_one():
    """Over all 8^3 colours of one pixel; and green depends on red."""
    likelihood = LogisticMixture(components=4, levels=8)
    raw = torch.randn(1, likelihood.channels(3), 1, 1, dtype=torch.float64)
    axis = torch.arange(8).double() / 7
    colours = torch.cartesian_prod(axis, axis, axis).view(-1, 3, 1, 1)
    joint = likelihood.log_prob(raw, colours).exp().view(8, 8, 8)
    assert joint.sum().item() == pytest.approx(1.0)
    apart = joint.sum(dim=(1, 2))[:, None] * joint.sum(dim=(0, 2))[None, :]
    assert (joint.sum(dim=2) - apart).abs().max() > 1e-3


def test_logistic_mixture_is_finite_far_away():
    raw = torch.zeros(1, 30, 1, 1)
    raw[:, 10:20], raw[:, 20:] = 50.0, -50.0  # far off, and as narrow as it can be
    raw.requires_grad_()
    found = LogisticMixture().log_prob(raw, torch.tensor(0.2).view(1, 1, 1, 1))
    found.backward()
    assert found.isfinite()
    assert found < -1e4
    assert raw.grad.isfinite().all()


def test_logistic_mixture_shows_its_mean():
    likelihood = LogisticMixture(components=2)
    raw = torch.zeros(1, 6, 1, 1)
    raw[:, :2], raw[:, 2:4] = torch.tensor([0.0, math.log(3)]).view(2, 1, 1), torch.tensor([-1.0, 0.2]).view(2, 1, 1)
    assert likelihood.mean(raw).item() == pytest.approx((0.25 * -1 + 0.75 * 0.2 + 1) / 2)


def test_logistic_mixture_is_for_grey_or_colour():
    with pytest.raises(UserError, match=r"dataset.channels"):
        LogisticMixture().channels(4)


def test_bits_per_dimension():
    """A uniform guess among 256 values is 8 bits, whether as probabilities or as a density on [0, 1)."""
    assert bits_per_dimension(torch.tensor(-64 * math.log(256)), 64).item() == pytest.approx(8.0)
    assert bits_per_dimension(torch.tensor(0.0), 64, density=True).item() == pytest.approx(8.0)


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(), ContinuousBernoulli(), Gaussian(), PixelGaussian(), Categorical()]
)
def test_several_draws_of_an_image_score_as_one_by_one(likelihood):
    images = torch.randint(2, (3, 1, 2, 2)).float()
    raw = torch.randn(5, 3, likelihood.channels(1), 2, 2)
    together = likelihood.log_prob(raw, images)
    torch.testing.assert_close(together, torch.stack([likelihood.log_prob(one, images) for one in raw]))


@pytest.mark.parametrize(
    "likelihood",
    [Bernoulli(), ContinuousBernoulli(), Gaussian(), PixelGaussian(), Categorical(), LogisticMixture()],
    ids=lambda likelihood: type(likelihood).__name__,
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_decoder_s_half_precision_ends_at_its_output(likelihood, dtype):
    """Means and densities are those of the same output in float32, to the last bit."""
    torch.manual_seed(0)
    raw, images = torch.randn(4, likelihood.channels(1), 8, 8).to(dtype), torch.randint(256, (4, 1, 8, 8)) / 255
    assert torch.equal(likelihood.mean(raw), likelihood.mean(raw.float()))
    assert torch.equal(likelihood.log_prob(raw, images), likelihood.log_prob(raw.float(), images))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), OptimalGaussian()])
def test_output_of_an_image_shows_it(likelihood):
    image = torch.rand(1, 3, 3) * 0.9 + 0.05
    torch.testing.assert_close(likelihood.mean(likelihood.output_of(image)), image)


def test_a_pixel_is_one_where_the_uniform_number_is_below_it():
    """Also where the two are equal or neighbours in float32, and at both ends."""
    images = torch.tensor([0.0, 1.0, 0.5, 0.5, 0.5, 2**-24, 1.0, 100 / 255])
    near = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)).item()
    uniform = torch.tensor([0.0, 1 - 2**-24, 0.5, near, 0.5 + 2**-24, 0.0, 0.0, 100 / 255])
    drawn = Bernoulli().prepare(one_pixel(images), lambda shape: uniform.view(shape))
    assert drawn.flatten().tolist() == [0, 1, 0, 1, 0, 1, 1, 0]
    assert not drawn.signbit().any()  # no -0.0, which a picture or a product could show
    many = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    pixels = (many * 255).round().div(255).roll(1)
    drawn = Bernoulli().prepare(one_pixel(pixels), lambda shape: many.clone().view(shape))
    assert torch.equal(drawn.flatten(), (many < pixels).float())
