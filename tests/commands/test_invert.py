"""lightning-gen invert, and edits of images that a GAN has inverted."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.errors import UserError
from lightning_gen.runs.loading import load_model
from tests.helpers import train_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("invert") / "run"
    return train_run(path, "model=gan", "networks=mlp", "model.latent_dim=3", "trainer.max_steps=30")[0]


def call(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False).output


def test_samples_of_the_gan_are_found_again(run, tmp_path):
    call("sample", run.path, "-n", "3", "--format", "png", "-o", tmp_path)
    printed = call("invert", run.path, tmp_path, "--steps", "150", "--prior", "0", "--perceptual", "0.01")
    saved = np.load(run.path / "inversion" / "codes.npz")
    assert saved["names"].tolist() == ["000000", "000001", "000002"]
    mean, _, nearest, _ = map(
        float, re.search(r"mean +([\d.e-]+) +([\d.e-]+) +([\d.e-]+) +([\d.e-]+)", printed).groups()
    )
    assert mean == pytest.approx(saved["errors"].mean(), rel=0.01)
    assert mean < 0.1 * nearest  # the error of 8 bits stays
    images = load_model(run).decode(torch.from_numpy(saved["codes"]))
    files = np.stack([np.array(Image.open(file)) for file in sorted(tmp_path.glob("*.png"))])
    assert np.abs(images[:, 0].numpy() * 255 - files).max() < 10
    assert Image.open(run.path / "inversion" / "inverted.png").width >= 600


def test_images_are_edited_after_an_inversion(run, tmp_path):
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save(tmp_path / "grey.png")
    call("directions", run.path, tmp_path / "grey.png", "--count", "2", "-o", tmp_path)
    assert (tmp_path / "sefa_edited.png").exists()


def test_what_cannot_be_inverted_is_told(run, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"text\.png cannot be used: not an image"):
        call("invert", run.path, tmp_path / "text.png")
    encoder, _ = train_run(tmp_path / "ae", "model=ae", "networks=mlp", "trainer.max_steps=1")
    with pytest.raises(UserError, match="model=ae encodes images"):
        call("invert", encoder.path)
