"""`trainer.compile`: steps with compiled networks, and evaluations without them."""

import pytest
import torch
from torch import nn
from torch._dynamo.backends.debugging import aot_eager

from lightning_gen.errors import UserError
from lightning_gen.networks import compilation
from lightning_gen.networks.compilation import compile_networks, uncompiled
from lightning_gen.networks.mlp import MLPEncoder
from lightning_gen.networks.spectral import normalize
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare, train
from tests.helpers import assert_same, make_run, train_run

COMPILE = "trainer.compile=true"
MODELS = {
    "ae": ("model=ae", "networks=mlp"),
    "vae": ("model=vae", "networks=mlp"),
    "gan with a gradient penalty": ("model=gan", "networks=mlp", "model/penalty=r1"),
    "vqvae": ("model=vqvae", "networks.encoder.width=8", "model.prior.width=16", "model.prior.depth=1"),
    "factor_vae": ("model=factor_vae", "networks=mlp"),
    "infogan": ("model=infogan", "networks=mlp", "model/penalty=none"),
    "conditional gan": ("model=gan", "networks=mlp", "conditional=true", "model.d_steps=2"),
    "wae": ("model=wae", "networks=mlp"),
}


@pytest.fixture
def calls(monkeypatch):
    """The number of times that a compiled network ran. The backend is PyTorch's own, without a C++ compiler."""
    counted = []

    def backend(graph, inputs):
        compiled = aot_eager(graph, inputs)
        return lambda *args: (counted.append(1), compiled(*args))[1]

    torch._dynamo.reset()
    monkeypatch.setattr(compilation, "BACKEND", backend)
    yield counted
    torch._dynamo.reset()


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_networks_that_are_not_compiled_but_for_rounding(tmp_path, calls, name):
    short = ("trainer.max_steps=3", "evaluation.held_out=40", "evaluation.every_n_steps=3")
    plain, _ = train_run(tmp_path / "plain", *MODELS[name], *short)
    assert not calls
    run, _ = train_run(tmp_path / "compiled", *MODELS[name], *short, COMPILE)
    assert len(calls) >= 5  # an encoder and a decoder, or two players; the last of three steps may train a prior
    assert_same(plain.read_checkpoint()["state_dict"], run.read_checkpoint()["state_dict"], tolerance=1e-4)


def test_a_run_is_resumed_to_the_bit(tmp_path, calls):
    options = (*MODELS["gan with a gradient penalty"], COMPILE, "evaluation.held_out=40")
    whole, _ = train_run(tmp_path / "whole", *options, "trainer.max_steps=4")
    train_run(tmp_path / "run", *options, "trainer.max_steps=2")
    run = Run.load(tmp_path / "run")
    run.config.resume, run.config.trainer.max_steps = str(run.path), 4
    train(run)
    assert_same(whole.read_checkpoint()["state_dict"], run.read_checkpoint()["state_dict"])


def test_uncompiled_networks_can_be_differentiated_twice(calls):
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    assert compile_networks([network]) == 1
    x = torch.ones(4, 2, requires_grad=True)
    network(x)
    assert len(calls) == 1
    with uncompiled(True):
        (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        slope.square().sum().backward()
    assert len(calls) == 1


def test_networks_with_spectral_norm_are_left_as_they_are():
    normalized, plain = normalize(nn.Linear(2, 2)), nn.Linear(2, 2)
    assert compile_networks([normalized, plain]) == 1
    assert normalized._compiled_call_impl is None
    assert plain._compiled_call_impl is not None


def test_many_models_in_one_process_are_all_compiled(calls):
    for width in range(1, 13):
        before = len(calls)
        network = MLPEncoder(image_shape=(1, 2, 2), widths=[width])
        compile_networks([network])
        network(torch.ones(2, 1, 2, 2))
        assert len(calls) > before


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=ladder_vae",),
        ("model=vqgan", "networks.encoder.width=8", "model.prior.width=16", "model.prior.depth=1"),
        ("model=ae", "networks=mlp", "model/regularizer=rae_gp"),
        ("model=vae", "networks=mlp", "privacy=dp_sgd", "privacy.epsilon=3"),
        ("model=vae", "networks=mlp", "networks.spectral_norm=both"),
    ],
)
def test_a_model_whose_networks_cannot_be_compiled_is_refused(tmp_path, overrides):
    with pytest.raises(UserError, match=r"trainer\.compile=true can compile no network of this"):
        prepare(make_run(tmp_path, *overrides, COMPILE))


def test_a_machine_without_a_compiler_is_told(tmp_path, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no C++ compiler")

    torch._dynamo.reset()
    monkeypatch.setattr(compilation, "BACKEND", backend)
    with pytest.raises(UserError, match=r"(?s)trainer\.compile=true does not work here: .*no C\+\+ compiler"):
        train_run(tmp_path, *MODELS["ae"], COMPILE, "trainer.max_steps=2")
