"""Inversion: what a generator has made is found again, and a linear generator's answer is least squares."""

from types import SimpleNamespace

import torch

from lightning_gen.config.build import build_model
from lightning_gen.evaluation.inversion import Search, invert
from lightning_gen.evaluation.latent_space import space_of
from lightning_gen.metrics.extractors import RandomExtractor
from tests.helpers import composed, quick


def space(*overrides, gain=3.0):
    config = composed(*quick("model=gan", "model.latent_dim=4", "networks=mlp", *overrides))
    config.num_classes = 10 if "conditional=true" in overrides else 0
    torch.manual_seed(0)
    model = build_model(config, (1, 8, 8)).eval().requires_grad_(False)
    for weight in model.generator.parameters():
        weight.mul_(gain)  # so that images of an untrained generator differ
    return space_of(model)


def test_images_of_the_generator_are_recovered():
    found = space()
    points, _ = found.draw(5, seed=9)
    images = found.shown(points)
    result = invert(found, images, Search(steps=150, prior=0.0))
    assert result.errors.max() < 0.01 * result.nearest.min()
    assert (result.points - points).abs().max() < 0.05
    again = invert(found, images, Search(steps=150, prior=0.0))
    assert torch.equal(result.points, again.points)


def test_a_linear_generator_is_inverted_by_ridge_regression():
    matrix = torch.linalg.qr(torch.randn(16, 3, generator=torch.Generator().manual_seed(0))).Q
    draws = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    draws = (draws - draws.mean(dim=0)) / draws.std(dim=0)

    def images(points, labels=None):
        return (points @ matrix.T).view(-1, 1, 4, 4)

    linear = SimpleNamespace(images=images, shown=images, draw=lambda count, seed: (draws, None))
    wanted = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    result = invert(linear, wanted, Search(steps=400, restarts=2, draws=200, prior=0.5))
    expected = wanted.flatten(1) @ matrix / 1.5  # (A^T A + 0.5 I)^-1 A^T x
    torch.testing.assert_close(result.points, expected, rtol=1e-3, atol=1e-3)


def test_a_conditional_generator_takes_the_class_of_the_start():
    found = space("conditional=true")
    points, labels = found.draw(2, seed=9)
    result = invert(found, found.shown(points, labels), Search(steps=20, restarts=3))
    torch.testing.assert_close(found.shown(result.points, result.labels), result.images)
    assert result.restart_errors.shape == (2, 3)
    assert (result.errors <= result.nearest).all()


def test_features_draw_the_search_towards_images_that_look_alike():
    found, features = space(), RandomExtractor(1)
    wanted = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))

    def distance(weight):
        result = invert(found, wanted, Search(steps=60, restarts=1, perceptual=weight), features)
        return (features(result.images) - features(wanted)).square().sum()

    assert distance(10.0) < distance(0.0)


def test_the_styles_of_a_stylegan2_are_inverted():
    options = ("networks=stylegan2", "networks.decoder.style_dim=6", "networks.decoder.channel_base=64")
    found = space(*options, "networks.encoder.channel_base=64", gain=1.0)
    points, _ = found.draw(1, seed=9)
    result = invert(found, found.shown(points), Search(steps=60, restarts=1, draws=50))
    assert result.points.shape == (1, 6)
    assert result.errors < 0.1 * result.nearest
