"""VQ-GAN: its discriminator, the adaptive weight, and who plays when."""

import pytest
import torch

from lightning_gen.config.build import build_model
from lightning_gen.errors import UserError
from lightning_gen.networks.patch import PatchDiscriminator
from lightning_gen.runs.loading import load_model
from tests.choices import batch_of, fit, made
from tests.helpers import make_run, train_run

OPTIONS = ("model=vqgan", "model.quantizer.num_codes=16", "model.quantizer.dim=4", "model.prior.width=16")
OPTIONS += ("model.prior.depth=1", "networks.encoder.width=8", "model.discriminator_width=4")


def test_the_discriminator_has_the_published_number_of_parameters():
    """The PatchGAN of pix2pix for three channels, with batch norm: 2,765,633; and its map of patches."""
    discriminator = PatchDiscriminator((3, 256, 256))
    assert sum(p.numel() for p in discriminator.parameters()) == 2_765_633
    assert discriminator(torch.rand(1, 3, 256, 256)).shape == (1, 30, 30)


def test_a_patch_has_70_pixels():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator((1, 128, 128), width=2).eval()
    images = torch.randn(1, 1, 128, 128, requires_grad=True)
    discriminator(images)[0, 7, 7].backward()
    seen = images.grad[0, 0].abs().sum(dim=0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 70


@pytest.mark.parametrize("size", [8, 28, 32])
def test_small_images_are_halved_fewer_times(size):
    assert PatchDiscriminator((1, size, size), width=2)(torch.rand(2, 1, size, size)).ndim == 3


def test_the_adaptive_weight_makes_both_gradients_equal():
    """|lambda dL_GAN / dG| = |dL_rec / dG| for the decoder's last layer (Esser et al. 2021, eq. 7)."""
    model = made("vqgan", {})
    last = model.decoder.net[-1].weight
    images = batch_of(6).images
    raw = model.decoder(model.encode(images))
    error = (raw.sigmoid() - images).square().sum() / 6
    fooling = -model.logits(raw.sigmoid()).mean()
    weight = model.adaptive_weight(error, 1000 * fooling)
    norms = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (error, 1000 * fooling)]
    torch.testing.assert_close(weight * norms[1], norms[0], rtol=1e-3, atol=0)
    assert not weight.requires_grad


def test_the_loss_adds_the_weighted_adversarial_loss():
    model = made("vqgan", {})
    model.discriminator_weight = 0.5
    model.prior_steps = 0
    logged = fit(model, batch_of(6))
    expected = logged["train/reconstruction"] + 0.25 * logged["train/commitment"]
    expected = expected + 0.5 * logged["train/adaptive_weight"] * logged["train/loss_decoder"]
    torch.testing.assert_close(logged["train/loss"], expected)


def test_the_discriminator_plays_from_its_start_to_the_second_stage(tmp_path):
    options = ("model.discriminator_start=3", "model.prior_steps=4", "trainer.max_steps=10", "dataset.batch_size=8")
    run, summary = train_run(tmp_path / "run", *OPTIONS, *options)
    lines = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()]
    column = lines[0].index("train/loss_discriminator")
    assert [int(row[0]) for row in lines[1:] if row[column]] == [4, 5, 6]
    assert summary["status"] == "completed"
    model = load_model(run, "last")
    assert model.sample(2, torch.Generator().manual_seed(0)).shape == (2, 1, 8, 8)


def test_images_that_are_too_small(tmp_path):
    with pytest.raises(UserError, match="at least 6x6"):
        build_model(make_run(tmp_path / "run", *OPTIONS).config, (1, 4, 4))
