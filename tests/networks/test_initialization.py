"""Initial weights by name, and spectral norm, of every kind of layer."""

import pytest
import torch
from torch import nn

from lightning_gen.errors import UserError
from lightning_gen.networks.initialization import INITIALIZATIONS, initialize
from lightning_gen.networks.spectral import normalize
from lightning_gen.objectives.posteriors import Diagonal


def layers():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "linear": nn.Linear(300, 100),
            "conv": nn.Conv2d(40, 60, 3),
            "up": nn.ConvTranspose2d(60, 40, 4, stride=2, padding=1),
            "embedding": nn.Embedding(200, 100),
            "norm": nn.BatchNorm2d(1000),
        }
    )


@pytest.mark.parametrize(
    ("kind", "linear", "conv"),
    [
        ("glorot", (2 * 2 / 400) ** 0.5, (2 * 2 / 900) ** 0.5),
        ("xavier_uniform", (2 / 400) ** 0.5, (2 / 900) ** 0.5),
        ("he", (2 / 300) ** 0.5, (2 / 360) ** 0.5),
        ("normal", 0.02, 0.02),
        ("dcgan", 0.02, 0.02),
    ],
)
def test_standard_deviations(kind, linear, conv):
    made = layers()
    initialize(made, kind, "relu")
    assert float(made["linear"].weight.detach().std()) == pytest.approx(linear, rel=0.03)
    assert float(made["conv"].weight.detach().std()) == pytest.approx(conv, rel=0.03)
    assert not made["linear"].bias.any()
    assert not made["conv"].bias.any()
    assert float(made["norm"].weight.detach().std()) == pytest.approx(0.02 if kind == "dcgan" else 0, rel=0.1)


@pytest.mark.parametrize("kind", ["glorot", "xavier_uniform"])
def test_stacked_layers_are_initialized_one_by_one(kind):
    """A posterior's means and log variances have fan out Z each, as two layers do in the code of Burda et al. 2016."""
    torch.manual_seed(0)
    head = Diagonal(200, 50)
    initialize(head, kind, "linear")
    assert float(head.weight.detach().std()) == pytest.approx((2 / 250) ** 0.5, rel=0.02)
    if kind == "xavier_uniform":
        assert float(head.weight.detach().abs().max()) == pytest.approx((6 / 250) ** 0.5, rel=1e-3)
    assert not head.bias.any()


def test_he_keeps_the_variance_through_a_transposed_convolution():
    """Stride 2 gives each output a quarter of the kernel's 16 positions."""
    made = layers()["up"]
    initialize(made, "he", "linear")
    out = made(torch.randn(20, 60, 16, 16))[:, :, 2:-2, 2:-2]
    assert float(out.detach().var()) == pytest.approx(1, rel=0.1)


def test_orthogonal_weights_are_orthonormal():
    made = layers()
    initialize(made, "orthogonal", "relu")
    weight = made["conv"].weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(60), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", INITIALIZATIONS)
def test_zeros_stay_and_layers_may_have_no_bias(kind):
    branch_end = nn.Conv2d(4, 4, 1, bias=False)
    nn.init.zeros_(branch_end.weight)
    other = nn.Linear(4, 4, bias=False)
    before = other.weight.clone()
    initialize(nn.Sequential(branch_end, other), kind, "relu")
    assert not branch_end.weight.any()
    assert torch.equal(other.weight, before) == (kind == "default")


def test_spectral_norm_of_every_layer_follows_a_new_initialization():
    made = layers()
    made.pop("norm")
    normalize(made)
    initialize(made, "orthogonal", "relu")
    for name, layer in made.eval().items():
        weight = layer.weight.detach()
        matrix = (weight.transpose(0, 1) if name == "up" else weight).flatten(1)
        assert float(torch.linalg.svdvals(matrix)[0]) == pytest.approx(1, abs=1e-2), name


def test_spectral_norm_is_applied_once():
    made = normalize(normalize(nn.Sequential(nn.Linear(3, 3), nn.Embedding(3, 3))))
    assert all(len(layer.parametrizations.weight) == 1 for layer in made)


def test_what_spectral_norm_cannot_do():
    zeros = nn.Linear(3, 3)
    nn.init.zeros_(zeros.weight)
    with pytest.raises(UserError, match=r"weights start at 0.*networks\.spectral_norm=none"):
        normalize(zeros)
    with pytest.raises(UserError, match=r"no layer.*networks\.spectral_norm=none"):
        normalize(nn.Flatten())


@pytest.mark.parametrize("make", [nn.Linear, lambda a, b: nn.ConvTranspose2d(a, b, 3)])
def test_spectral_norm_is_in_full_precision_in_mixed_precision(make):
    torch.manual_seed(0)
    layer, plain = make(20, 30), make(20, 30)
    plain.load_state_dict(layer.state_dict())
    layer, plain = normalize(nn.Sequential(layer)), torch.nn.utils.parametrizations.spectral_norm(plain)
    assert [name.removeprefix("0.") for name in layer.state_dict()] == list(plain.state_dict())
    for mine, theirs in zip(layer.state_dict().values(), plain.state_dict().values(), strict=True):
        mine.copy_(theirs)  # their first singular vectors are random
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = layer[0].weight
    assert weight.dtype is torch.float32
    torch.testing.assert_close(weight, plain.weight, rtol=0, atol=0)
