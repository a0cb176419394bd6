"""Every model with all its choices in every precision: the losses of float32, or a plain refusal."""

import copy

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.randomness import StepNoise
from lightning_gen.training.half_precision import HalfLayers
from tests.choices import REFUSED, batch_of, fit, groups, made, models, rows

# Lightning itself makes bfloat16 of float16 on CPUs.
PRECISIONS = {
    "bf16-mixed": lambda: MixedPrecision("bf16-mixed", "cpu"),
    "16-mixed": lambda: MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu")),
    "bf16-true": lambda: HalfLayers("bf16-true"),
}
# |x - y| / (1 + |y|), twice what is found: bfloat16 has 8 bits, float16 has 11
TOLERANCE = {"bf16-mixed": 0.02, "16-mixed": 0.0025, "bf16-true": 0.02}
NOT_COMPARED = ("accuracy", "grad_norm", "js_estimate", "perplexity", "codes_used")  # steps, or differences near 0


def numbers(model: GenerativeModel, *plugins, steps: int = 1) -> dict[str, torch.Tensor]:
    """What the last training step logs, and the metrics of held-out images."""
    batch, model = batch_of(6), copy.deepcopy(model)
    found = dict(fit(model, batch, steps, plugins=list(plugins)))
    with torch.no_grad():
        tested = model.eval().test_metrics(batch, StepNoise(0))
    found |= {f"eval/{name}": value.mean() for name, value in tested.items()}
    if model.can_sample:
        images = model.sample(3, torch.Generator().manual_seed(0))
        assert images.dtype == torch.float32
        found["eval/samples"] = images.square().mean()
    return {name: value for name, value in found.items() if not any(part in name for part in NOT_COMPARED)}


def differences(model: GenerativeModel, steps: int = 1) -> list[str]:
    """Which numbers are not those of float32, within the tolerance."""
    expected, lines = numbers(model, steps=steps), []
    for precision, plugin in PRECISIONS.items():
        found = numbers(model, plugin(), steps=steps)
        assert found.keys() == expected.keys()
        for name, wanted in expected.items():
            near = (found[name] - wanted).abs() <= TOLERANCE[precision] * (1 + wanted.abs())
            if found[name].dtype != torch.float32 or not near:
                lines.append(f"{precision} {name}: {found[name]:.5g} {found[name].dtype} for {wanted:.5g}")
    return lines


CASES = [(name, row) for name in models() for row in rows(name)]


@pytest.mark.parametrize(("name", "row"), CASES, ids=["-".join([name, *row.values()]) for name, row in CASES])
@pytest.mark.filterwarnings("ignore")
def test_losses_are_those_of_float32(name, row):
    assert not differences(made(name, row))


@pytest.mark.filterwarnings("ignore")
def test_losses_of_a_vqvae_s_prior_are_those_of_float32():
    model = made("vqvae", {})
    model.prior_steps = 1
    assert not differences(model, steps=2)


@pytest.mark.parametrize("pair", sorted(REFUSED), ids="-".join)
def test_what_does_not_go_together_is_refused_plainly(pair):
    row = dict(choice.split("=") for choice in pair)
    name = row.pop("model", None) or next(name for name in models() if row.keys() <= groups(name).keys())
    with pytest.raises(UserError, match="|".join(f"model/{group}=" for group in row)):
        fit(made(name, {group: choices[0] for group, choices in groups(name).items()} | row), batch_of(2))
