"""What every model owes, for those with codes of their own kind: resuming and two processes to the bit or nearly."""

import pytest
import torch

from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, resume_run, train_by_two, train_run

PRIOR = ("model.prior.width=16", "model.prior.depth=1")
MODELS = {
    "wae": ("model=wae", "networks=conv"),
    "wae_gan": ("model=wae", "model/divergence=gan", "model/penalty=[r1,lecam]", "networks=conv"),
    "vae_gan": ("model=vae_gan", "model/penalty=[r1,lecam]", "networks=conv"),
    "hierarchical_vae": (
        "model=hierarchical_vae",
        "model/objective=iwae",
        "model.objective.samples=5",
        "networks=conv",
    ),
    "vqvae": (
        "model=vqvae",
        "model.prior_steps=0",
        *PRIOR,
        "networks.encoder.width=8",
        "model.quantizer.revive_after=2",
    ),
}
SMALL = ("networks.encoder.width=8", "networks.decoder.width=8", "evaluation.held_out=20")


@pytest.mark.parametrize("name", MODELS)
def test_resume_is_bit_identical(tmp_path, name):
    options = (*MODELS[name], *SMALL, "ema.half_life=500", "checkpoint.every_n_steps=4")
    straight, summary = train_run(tmp_path / "straight", *options, "trainer.max_steps=9")
    assert summary["progress"]["step"] == 9
    assert summary["progress"]["images_seen"] == 9 * 16
    assert set(summary["protocol"]) == {name for name in summary["metrics"] if name.startswith("eval/")}
    train_run(tmp_path / "resumed", *options, "trainer.max_steps=5")
    resumed, _ = resume_run(tmp_path / "resumed", 9)
    for part in ("state_dict", "optimizer_states", "random_state", "global_step", "images_seen"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert_same(straight.read_checkpoint()["callbacks"]["EMA"], resumed.read_checkpoint()["callbacks"]["EMA"])


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_give_what_one_gives(tmp_path, forked_workers, name):
    """In float64, where rounding is all that could differ."""
    small = ("networks.encoder.width=8", "networks=vq") if name == "vqvae" else ("networks=mlp",)
    options = (*MODELS[name][:-1], *small, "trainer.max_steps=12", "trainer.precision=64-true")
    options += ("evaluation.held_out=20",)
    first, _ = train_run(tmp_path / "one", *options)
    one, two = first.read_checkpoint(), train_by_two(tmp_path / "two", *options).read_checkpoint()
    assert one["images_seen"] == two["images_seen"] == 12 * 16
    assert_same(one["state_dict"], two["state_dict"], tolerance=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_leaves_no_trace(tmp_path, name):
    often, _ = train_run(
        tmp_path / "often", *MODELS[name], *SMALL, "trainer.max_steps=5", "evaluation.every_n_steps=2"
    )
    never, _ = train_run(tmp_path / "never", *MODELS[name], *SMALL, "trainer.max_steps=5")
    for part in ("state_dict", "optimizer_states", "random_state"):
        assert_same(often.read_checkpoint()[part], never.read_checkpoint()[part])


@pytest.mark.parametrize("name", MODELS)
def test_colour_images_of_another_size(tmp_path, drawn_pictures, name):
    options = ("dataset.size=32", "dataset.channels=3", "networks.encoder.width=4", "networks.decoder.width=4")
    options += ("evaluation.held_out=20",)
    run, summary = train_run(tmp_path, *MODELS[name], *options, "trainer.max_steps=1")
    assert summary["status"] == "completed"
    images = load_model(run, "last").sample(3, torch.Generator().manual_seed(0))
    assert images.shape == (3, 3, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
