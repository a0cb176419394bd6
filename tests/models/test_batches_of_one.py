"""Batches of one and two images, in training and evaluation: with every choice, finite numbers and gradients."""

from functools import partial

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.evaluation.held_out import HeldOut
from lightning_gen.randomness import StepNoise
from lightning_gen.training.train import prepare
from tests.choices import batch_of, fit, made, models, rows
from tests.helpers import make_run

CASES = [(name, row) for name in models() for row in rows(name, together=1)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("name", "row"), CASES, ids=["-".join([name, *row.values()]) for name, row in CASES])
@pytest.mark.filterwarnings("ignore")
def test_all_is_finite(name, row, count):
    model, batch = made(name, row), batch_of(count)
    found = dict(fit(model, batch))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        found |= model.eval().test_metrics(batch, StepNoise(0))
    assert all(value.isfinite().all() for value in found.values()), found


@pytest.mark.parametrize("objective", ["beta_tc", "dip_vae_i", "info_vae"])
def test_a_rest_of_one_held_out_image_is_evaluated(tmp_path, objective):
    """360 held-out images in batches of 359, and of 360: the last image alone tells little, and breaks nothing."""
    options = ("model=vae", "model/likelihood=gaussian", "networks=mlp", f"model/objective={objective}")
    parts = prepare(make_run(tmp_path / "run", *options))
    model, whole = parts.model.eval(), parts.data.test_batches
    found = []
    with torch.no_grad():
        for size in (359, 360):
            parts.data.test_batches = partial(whole, batch_size=size)
            found.append(HeldOut(parts.data).means(model))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert value == pytest.approx(found[1][name], rel=0.02, abs=0.2), name


@pytest.mark.parametrize(
    "options",
    [
        ("vae", "objective=beta_tc"),
        ("vae", "objective=dip_vae_i"),
        ("vae", "objective=info_vae"),
        ("wae", "divergence=mmd"),
    ],
)
def test_what_compares_the_images_of_a_batch_needs_two(tmp_path, options):
    name, choice = options
    wanted = (f"model={name}", f"model/{choice}", "networks=mlp", "dataset.batch_size=1")
    with pytest.raises(UserError, match=rf"{choice.split('=')[1]}.*dataset\.batch_size to 2"):
        prepare(make_run(tmp_path / "run", *wanted))
