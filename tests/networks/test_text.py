"""The networks of a lecture text have the sizes that it spells out."""

import pytest
import torch
from torch import nn

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.networks.text import TextGenerator


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def recipes():
    """The composed config of each recipe."""
    return {name: compose([f"experiment={name}"]) for name in ("text_gan", "text_vae")}


@pytest.mark.parametrize(
    ("channels", "generator", "judge"), [(1, 11_574_657, 4_892_673), (3, 11_607_427, 13_281_281)]
)
def test_the_gan(recipes, channels, generator, judge):
    with torch.device("meta"):
        model = build_model(recipes["text_gan"], (channels, 64, 64))
        assert model.generator(torch.randn(2, 100)).shape == (2, channels, 64, 64)
    assert (parameters(model.generator), parameters(model.discriminator)) == (generator, judge)
    dense = [layer.out_features for layer in model.discriminator.modules() if isinstance(layer, nn.Linear)]
    assert dense == [1024, 512, 256, 128, 64, 1]
    dense = [layer.out_features for layer in model.generator.modules() if isinstance(layer, nn.Linear)]
    assert dense == [4 * 4 * 256, 4 * 4 * 128, 4 * 4 * 64]
    maps = [layer.out_channels for layer in model.generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert maps == [128, 256, channels]


@pytest.mark.parametrize(("channels", "encoder", "decoder"), [(1, 8_496, 454_961), (3, 9_008, 455_475)])
def test_the_vae(recipes, channels, encoder, decoder):
    model = build_model(recipes["text_vae"], (channels, 64, 64))
    assert (parameters(model.encoder), parameters(model.decoder)) == (encoder, decoder)
    assert [layer.out_channels for layer in model.encoder.modules() if isinstance(layer, nn.Conv2d)] == [16, 32]
    assert next(layer for layer in model.decoder.modules() if isinstance(layer, nn.Linear)).out_features == 64 * 8 * 8
    maps = [layer.out_channels for layer in model.decoder.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert maps == [32, 16, channels]
    assert model.decode(torch.randn(2, 100)).shape == (2, channels, 64, 64)
    assert model.decode(torch.randn(2, 100)).min() > 0  # a sigmoid


@pytest.mark.parametrize("size", [16, 48, 66])
def test_a_size_that_the_generator_cannot_make_is_refused(size):
    with pytest.raises(UserError, match=r"dataset\.size=64"):
        TextGenerator(3, (1, size, size))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_generator_makes_powers_of_two(size):
    with torch.device("meta"):
        assert TextGenerator(3, (1, size, size))(torch.randn(1, 3)).shape == (1, 1, size, size)
