"""Averaged weights: what they are an average of, and that a model is right with them and as before without."""

import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.models.averaging import averaged_tensors, load_average
from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, train_run

NORMALIZED = ("model=gan", "networks=mlp", "networks.encoder.widths=[16,8]", "networks.spectral_norm=both")
FAST = ("model.generator_optimizer.lr=0.05", "ema.half_life=20000")  # the weights turn, the average lags behind


def largest_singular_values(module):
    layers = [layer for layer in module.modules() if is_parametrized(layer, "weight")]
    return torch.stack([torch.linalg.svdvals(layer.weight.detach().flatten(1))[0] for layer in layers])


def test_spectral_norm_holds_for_averaged_weights(tmp_path):
    """Each matrix of an average is divided by its own largest singular value, which averaged vectors would miss."""
    run, _ = train_run(tmp_path, *NORMALIZED, *FAST, "trainer.max_steps=60")
    model = load_model(run, "last")
    assert model.averaged
    values = largest_singular_values(model.generator)
    torch.testing.assert_close(values, torch.ones(3), atol=2e-3, rtol=0)
    assert not any(name.endswith(("._u", "._v")) for name in averaged_tensors(model))


def test_the_average_of_an_earlier_version_is_read_without_its_vectors(tmp_path):
    run, _ = train_run(tmp_path, *NORMALIZED, *FAST, "trainer.max_steps=5")
    state, model = run.read_checkpoint(), load_model(run, "last")
    average = state["callbacks"]["EMA"]["average"]
    vectors = [name for name in model.state_dict() if name.startswith("generator") and name.endswith(("._u", "._v"))]
    state["callbacks"]["EMA"]["average"] = average | {
        name: torch.zeros_like(model.state_dict()[name]) for name in vectors
    }
    before = {name: tensor.clone() for name, tensor in averaged_tensors(model).items()}
    assert load_average(model, state)
    assert_same(averaged_tensors(model), before)
    torch.testing.assert_close(largest_singular_values(model.generator), torch.ones(3), atol=2e-3, rtol=0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_using_the_average_leaves_no_trace(tmp_path, precision):
    """Neither in the weights and singular vectors nor, in half precision, in the average, which has more digits."""
    options = (*NORMALIZED, *FAST, f"trainer.precision={precision}", "trainer.max_steps=5")
    often, _ = train_run(tmp_path / "often", *options, "evaluation.every_n_steps=2")
    never, _ = train_run(tmp_path / "never", *options)
    assert_same(often.read_checkpoint()["state_dict"], never.read_checkpoint()["state_dict"])
    averages = [run.read_checkpoint()["callbacks"]["EMA"]["average"] for run in (often, never)]
    assert_same(*averages)
    assert all(tensor.dtype == torch.float32 for tensor in averages[0].values())
