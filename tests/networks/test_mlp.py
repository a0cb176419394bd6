"""Tied weights, initialization and spectral norm of fully connected networks."""

import itertools

import pytest
import torch
from torch import nn

from lightning_gen.errors import UserError
from lightning_gen.networks.conv import ConvDecoder
from lightning_gen.networks.initialization import initialize
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder, tie
from lightning_gen.networks.spectral import normalized

SHAPE = (1, 8, 8)


def tied_pair(widths):
    encoder = MLPEncoder(SHAPE, widths)
    code = nn.Linear(encoder.num_features, 10)
    decoder = MLPDecoder(10, SHAPE, widths[::-1], tied=True)
    tie(decoder, encoder, code)
    return encoder, code, decoder


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize("widths", [[], [32], [32, 16]])
def test_tied_weights_are_one_parameter(widths):
    encoder, code, decoder = tied_pair(widths)
    sizes = [64, *widths, 10]
    matrices = sum(a * b for a, b in itertools.pairwise(sizes))
    assert count(encoder, code, decoder) == matrices + sum(sizes[1:]) + sum(sizes[:-1])
    assert all("weight" not in name for name in decoder.state_dict())


def test_a_tied_decoder_is_the_transpose_and_follows_the_encoder():
    encoder, code, decoder = tied_pair([])
    latents = torch.randn(3, 10)
    for _ in range(2):
        expected = latents @ code.weight + decoder.net[0].bias
        torch.testing.assert_close(decoder(latents).flatten(1), expected)
        with torch.no_grad():
            code.weight.mul_(2)
    decoder(latents).sum().backward()
    assert code.weight.grad.abs().sum() > 0
    assert encoder(torch.zeros(2, *SHAPE)).shape == (2, 64)


def test_networks_that_do_not_mirror_each_other_cannot_be_tied():
    encoder, code = MLPEncoder(SHAPE, [32, 16]), nn.Linear(16, 10)
    with pytest.raises(UserError, match=r"networks\.decoder\.widths"):
        tie(MLPDecoder(10, SHAPE, [16, 31], tied=True), encoder, code)


def test_glorot_keeps_the_variance_of_a_deep_rectifier_network():
    torch.manual_seed(0)
    net = nn.Sequential(*(layer for _ in range(10) for layer in (nn.Linear(300, 300), nn.ReLU())))
    inputs = torch.randn(200, 300)
    assert float(net(inputs).square().mean()) < 1e-2  # torch's own
    initialize(net, "glorot", "relu")
    assert 0.2 < float(net(inputs).square().mean()) < 2


def test_spectral_norm_makes_every_largest_singular_value_one():
    torch.manual_seed(0)
    make = normalized(lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)))
    net = make()
    for _ in range(100):  # power iterations
        net(torch.rand(2, 20))
    conv = normalized(ConvDecoder)(latent_dim=3, image_shape=(1, 16, 16))
    assert sum(hasattr(module, "parametrizations") for module in conv.modules()) == 3  # a linear, two convolutions
    for layer in (net[0], net[2]):
        assert float(torch.linalg.svdvals(layer.weight)[0]) == pytest.approx(1, abs=1e-3)
    plain = normalized(lambda: nn.Linear(2, 2), wanted=False)()
    assert not hasattr(plain, "parametrizations")
