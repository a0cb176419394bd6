"""Training in true half precision goes on where it stopped, to the bit."""

from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from lightning_gen.training.train import prepare, train
from tests.helpers import assert_same, logged, make_run, resume_run, train_run


@pytest.mark.parametrize(
    "options", [("model=gan", "networks=mlp"), ("model=vqvae", "model.prior_steps=0", "networks.encoder.width=8")]
)
def test_resume_is_bit_identical(tmp_path, options):
    options = (*options, "trainer.precision=bf16-true", "checkpoint.every_n_steps=2")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=5")
    train_run(tmp_path / "resumed", *options, "trainer.max_steps=3")
    resumed, _ = resume_run(tmp_path / "resumed", 5)
    for part in ("state_dict", "optimizer_states", "images_seen"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    kinds = {value.dtype for value in straight.read_checkpoint()["state_dict"].values() if value.is_floating_point()}
    assert torch.bfloat16 in kinds


class Scaled(MixedPrecision):
    """The gradient scaler of `trainer.precision=16-mixed` without its autocast, so that powers of two change no bit."""

    def forward_context(self):
        return nullcontext()


def train_scaled(path, scale, *options, steps=4, overflowing=None):
    """Train on the CPU, where Lightning has no scaler; the weights before and after, and the scaler."""
    run = make_run(path, *options, f"trainer.max_steps={steps}")
    parts = prepare(run)
    if overflowing is not None:
        next(getattr(parts.model, overflowing).parameters()).register_hook(lambda gradient: gradient * torch.inf)
    before = {name: weight.clone() for name, weight in parts.model.named_parameters()}
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
    parts.trainer.strategy._precision_plugin = Scaled("16-mixed", "cpu", scaler)
    train(run, parts)
    return before, dict(parts.model.named_parameters()), scaler


PLAYERS = ("model=gan", "networks=mlp", "model/penalty=[gradient_penalty,r1]", "model.d_steps=2", "ema=none")
PLAYERS += ("model.generator_optimizer.fused=false", "trainer.accumulate_grad_batches=2")
CLIPPED = "trainer.gradient_clip_val=0.5"
FUSED = tuple(option.replace("fused=false", "fused=true") for option in PLAYERS)
ONE = ("model=vae", "networks=mlp", "model.optimizer.fused=false", CLIPPED)


@pytest.mark.parametrize("options", [(*PLAYERS, CLIPPED), FUSED, ONE], ids=["clipped", "fused", "one player"])
def test_a_gradient_scaler_changes_no_bit(tmp_path, options):
    """Clipping, accumulation, penalties and the log see gradients as they are without a scaler."""
    _, plain, _ = train_scaled(tmp_path / "plain", 1.0, *options)
    _, scaled, _ = train_scaled(tmp_path / "scaled", 1024.0, *options)
    assert_same(plain, scaled)
    assert logged(tmp_path / "plain") == logged(tmp_path / "scaled")


@pytest.mark.parametrize("fused", ["true", "false"])
@pytest.mark.parametrize(("player", "other"), [("discriminator", "generator"), ("generator", "discriminator")])
def test_a_player_whose_gradients_overflow_skips_its_update(tmp_path, player, other, fused):
    options = ("model=gan", "networks=mlp", "ema=none", f"model.generator_optimizer.fused={fused}")
    before, after, scaler = train_scaled(tmp_path, 1024.0, *options, steps=1, overflowing=player)
    assert scaler.get_scale() == 512.0
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith(player)}
    columns = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert [name for name in columns if "grad_norm" in name] == [f"train/grad_norm_{other}"]
