"""Training in true half precision goes on where it stopped, to the bit."""

import pytest
import torch

from tests.helpers import assert_same, resume_run, train_run


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
