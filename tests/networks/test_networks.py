"""Encoders and decoders at every size they claim, and a clear line for the rest."""

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.networks.conv import ConvDecoder, ConvEncoder
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.networks.shapes import halvings

PAIRS = {
    "mlp": (lambda s: MLPEncoder(s, [16, 8]), lambda z, s: MLPDecoder(z, s, [8, 16])),
    "conv": (lambda s: ConvEncoder(s, width=4), lambda z, s: ConvDecoder(z, s, width=4)),
    "conv-group": (
        lambda s: ConvEncoder(s, width=8, norm="group"),
        lambda z, s: ConvDecoder(z, s, width=8, norm="group"),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("size", [8, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(pair, size, channels):
    make_encoder, make_decoder = PAIRS[pair]
    shape = (channels, size, size)
    encoder, decoder = make_encoder(shape), make_decoder(5, shape)
    assert encoder(torch.rand(2, *shape)).shape == (2, encoder.num_features)
    assert decoder(torch.randn(2, 5)).shape == (2, *shape)


def test_sides_may_differ():
    shape = (1, 16, 32)
    assert ConvEncoder(shape, width=4)(torch.rand(2, *shape)).shape == (2, ConvEncoder(shape, width=4).num_features)
    assert ConvDecoder(5, shape, width=4)(torch.randn(2, 5)).shape == (2, *shape)


@pytest.mark.parametrize(("size", "count"), [(8, 1), (14, 1), (16, 2), (28, 2), (32, 3), (48, 3), (64, 4), (128, 5)])
def test_halvings_leave_four_to_seven_pixels(size, count):
    assert halvings((1, size, size)) == count
    assert 4 <= size >> count < 8


@pytest.mark.parametrize(("size", "advice"), [(30, "28"), (31, "30"), (6, "8"), (100, "96")])
def test_sizes_that_do_not_divide(size, advice):
    with pytest.raises(UserError, match=f"dataset.size to {advice}"):
        halvings((1, size, size))


def test_decoder_is_raw():
    """No output activation: the model's likelihood or the GAN's tanh decides."""
    decoder = MLPDecoder(3, (1, 8, 8), [4])
    with torch.no_grad():
        decoder.net[-2].bias.fill_(7.0)
        decoder.net[-2].weight.zero_()
    assert torch.equal(decoder(torch.randn(2, 3)), torch.full((2, 1, 8, 8), 7.0))
