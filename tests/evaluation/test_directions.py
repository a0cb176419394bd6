"""The layers that codes enter, in every kind of generator, and directions of a model whose layer is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_gen.config.build import build_model
from lightning_gen.errors import UserError
from lightning_gen.evaluation import directions
from lightning_gen.evaluation.directions import find_directions
from lightning_gen.evaluation.latent_space import first_layers, space_of
from tests.helpers import composed, quick

NARROW = ("networks.encoder.width=8", "networks.decoder.width=8")


def space(*overrides, shape=(1, 8, 8)):
    config = composed(*quick("model=gan", *overrides))
    config.num_classes = 10 if "conditional=true" in overrides else 0
    torch.manual_seed(0)
    return space_of(build_model(config, shape).eval())


def test_the_first_layer_of_a_perceptron_is_its_matrix():
    found = space("networks=mlp")
    matrix, later = first_layers(found, 16)
    layers = [m for m in found.model.generator.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(matrix, layers[0].weight)
    assert later is layers[1]


def test_a_batch_norm_behind_the_first_layer_belongs_to_it():
    found = space("networks=conv", *NARROW)
    linear, _, norm = found.model.generator.net[:3]
    norm.running_var.copy_(torch.linspace(1, 4, len(norm.running_var)))
    matrix, later = first_layers(found, 16)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).repeat_interleave(
        len(linear.bias) // len(norm.weight)
    )
    torch.testing.assert_close(matrix, scale[:, None] * linear.weight, rtol=1e-3, atol=1e-5)
    assert isinstance(later, nn.ConvTranspose2d)


def test_a_label_is_no_part_of_the_code():
    found = space("networks=mlp", "conditional=true")
    matrix, _ = first_layers(found, 16)
    assert matrix.shape[1] == 16
    first = next(m for m in found.model.generator.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(matrix, first.weight[:, :16], rtol=1e-4, atol=1e-6)


def test_the_styles_enter_the_affine_map_of_every_layer():
    tiny = ("networks.encoder.channel_base=64", "networks.decoder.channel_base=64")
    found = space("networks=stylegan2", *tiny, "networks.decoder.style_dim=6", shape=(1, 8, 8))
    assert found.styles
    matrix, _ = first_layers(found, 6)
    convolutions = [m for m in found.model.generator.modules() if hasattr(m, "affine")]
    expected = torch.cat([m.affine.weight * m.affine.scale for m in convolutions])
    assert matrix.shape == expected.shape  # in the order in which they are called
    torch.testing.assert_close(matrix.T @ matrix, expected.T @ expected, rtol=1e-4, atol=1e-5)


def test_each_chunk_of_the_code_enters_its_own_layers():
    found = space("networks=biggan", "model.latent_dim=18", *NARROW, shape=(1, 16, 16))
    matrix, _ = first_layers(found, 18)
    assert (matrix.abs().sum(dim=0) > 0).all()


def test_sefa_of_a_generator_with_a_known_matrix():
    found = space("networks=mlp", "model.latent_dim=4")
    first = next(m for m in found.model.generator.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:3, :3] = torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    data = SimpleNamespace(train=SimpleNamespace(classes=()), dataset="nothing")
    three = find_directions(found, data, "sefa", 3)
    torch.testing.assert_close(three.vectors, torch.eye(4)[[1, 2, 0]])
    torch.testing.assert_close(three.importance, torch.tensor([9.0, 4, 1]) / 14)
    torch.testing.assert_close(three.deviations, torch.ones(3), rtol=0.05, atol=0)
    assert three.step(0, 2.0).tolist() == pytest.approx([0, 2 * three.deviations[0].item(), 0, 0])


def test_what_a_model_cannot_have_is_told(monkeypatch):
    with pytest.raises(UserError, match="points or rows of a table"):
        space("networks=mlp", shape=(1, 1, 2))
    data = SimpleNamespace(
        train=SimpleNamespace(classes=(), factors=None), test=SimpleNamespace(factors=None), dataset="x"
    )
    with pytest.raises(UserError, match="vary equally in all directions"):
        find_directions(space("networks=mlp"), data, "pca", 3)
    with pytest.raises(UserError, match="dataset=x has no class labels"):
        find_directions(space("networks=mlp"), data, "classes", 3)
    monkeypatch.setattr(directions, "_classified", lambda space, data, points: torch.ones(len(points)).long())
    data.train.classes = ("cat", "dog")
    with pytest.raises(UserError, match="all samples of this model are of the class dog"):
        find_directions(space("networks=mlp"), data, "classes", 3)
    with pytest.raises(UserError, match="this model is given the class"):
        find_directions(space("networks=mlp", "conditional=true"), data, "classes", 3)
