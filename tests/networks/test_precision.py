"""What stays in full precision, and the networks in half."""

import copy

import pytest
import torch
from torch import nn

from lightning_gen.networks.precision import FullPrecision, full_precision, to_half
from tests.networks.test_gan_networks import SMALL, pair, small_pair

OTHERS = {"conv": ("encoder.width=4", "decoder.width=4"), "mlp": ("encoder.widths=[16]",), "vq": ("encoder.width=8",)}


class State(FullPrecision):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(1 / 3))
        self.inner = nn.Linear(2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_state_keeps_all_its_digits_in_half_precision(dtype):
    model = nn.ModuleDict({"layer": nn.Linear(2, 2), "state": State()})
    before = copy.deepcopy(model["state"].state_dict())
    to_half(model, dtype)
    assert model["layer"].weight.dtype == dtype
    assert all(torch.equal(before[name], value) for name, value in model["state"].state_dict().items())
    assert model["layer"](torch.ones(1, 2)).dtype == dtype  # of inputs in float32
    assert model["state"].inner(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_full_precision_is_float32_at_least(dtype):
    assert full_precision(torch.ones(1, dtype=dtype)).dtype == torch.float32
    assert full_precision(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
@torch.no_grad()
def test_half_precision_is_near_full_precision(name):
    """Of images and codes in float32; batch norm keeps its statistics."""
    torch.manual_seed(0)
    make = small_pair if name in SMALL else lambda name, shape: pair(name, shape, *OTHERS[name])
    encoder, decoder = make(name, (3, 32, 32))
    latents = torch.randn(4, 12)
    images = decoder(latents)
    features = encoder(images)
    to_half(encoder, torch.bfloat16)
    to_half(decoder, torch.bfloat16)
    assert float((decoder(latents) - images).norm() / images.norm()) < 0.05
    assert float((encoder(images) - features).norm() / features.norm()) < 0.05
    statistics = [value for key, value in decoder.state_dict().items() if "running" in key]
    assert all(value.dtype == torch.float32 for value in statistics)
