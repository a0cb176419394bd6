"""lightning-gen directions, on tiny runs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.errors import UserError
from lightning_gen.evaluation import factor_agreement
from lightning_gen.runs.loading import load_model
from tests.helpers import train_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("directions") / "run"
    return train_run(path, "model=vae", "networks=mlp", "model.latent_dim=6", "trainer.max_steps=30")[0]


def call(*arguments):
    return CliRunner().invoke(app, ["directions", *map(str, arguments)], catch_exceptions=False).output


def test_directions_are_written_and_can_be_used_again(run):
    printed = call(run.path, "--count", "4", "--strength", "2")
    saved = np.load(run.path / "directions" / "sefa.npz")
    weight = next(p for p in load_model(run).decoder.parameters() if p.ndim == 2)
    largest = torch.linalg.svd(weight).Vh[0]
    assert abs(float(torch.from_numpy(saved["directions"][0]) @ largest)) == pytest.approx(1, abs=1e-4)
    entry = json.loads((run.path / "directions" / "sefa.json").read_text())
    assert entry["names"] == ["1", "2", "3", "4"] == saved["names"].tolist()
    assert entry["importance"] == saved["importance"].tolist() == sorted(entry["importance"], reverse=True)
    assert f"{entry['importance'][0]:.3f}" in printed
    assert Image.open(run.path / "directions" / "sefa.png").width >= 600
    call(run.path, "--count", "4", "-o", run.path / "again")
    assert (run.path / "again" / "sefa.json").read_text() == (run.path / "directions" / "sefa.json").read_text()


def test_images_are_edited_along_the_direction_of_a_class(run, tmp_path):
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / "grey.png")  # cropped, resized, made grey
    call(run.path, tmp_path / "grey.png", "--method", "classes", "-o", tmp_path)
    every = Image.open(tmp_path / "classes_edited.png")
    call(run.path, "--method", "classes", "--direction", "9", "-o", tmp_path)  # the first test images
    assert Image.open(tmp_path / "classes_edited.png").height > every.height
    for index in range(13):
        Image.fromarray(np.full((8, 8), 10 * index, np.uint8)).save(tmp_path / f"many{index}.png")
    many = sorted(tmp_path.glob("many*.png"))
    assert "of 13 images the first 12 are edited" in call(run.path, *many, "--count", "1", "-o", tmp_path)
    with pytest.raises(UserError, match="--direction 99 does not exist"):
        call(run.path, "--method", "classes", "--direction", "99")
    assert "less than or equal to 100" in call(run.path, "--direction", "1", "--strength", "inf")
    for name in ("inner", ".git"):
        (tmp_path / "outer" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=r"outer has no images in it\. Folders inside are not searched: name .*inner"):
        call(run.path, tmp_path / "outer")
    with pytest.raises(UserError, match=r"there\.png cannot be used: No such file"):
        call(run.path, tmp_path / "not_there.png")


def test_sprites_have_factors_to_agree_with(tmp_path, monkeypatch):
    monkeypatch.setattr(factor_agreement, "SAMPLES", 2)
    monkeypatch.setattr(factor_agreement, "RANDOM_SETS", 1)
    options = ("model=ae", "networks=mlp", "networks.encoder.widths=[16]", "dataset=sprites", "trainer.max_steps=1")
    trained, _ = train_run(tmp_path / "sprites", *options, "model.latent_dim=5")
    printed = call(trained.path, "--method", "axes")
    entry = json.loads((trained.path / "directions" / "axes.json").read_text())["factors"]
    assert list(entry["matched"]) == ["scale", "orientation", "x", "y"]
    assert len({found["direction"] for found in entry["matched"].values()}) == 4
    assert f"random directions: agreement {entry['random']['agreement']:.2f}" in printed
    assert "orientation" in call(trained.path, "--method", "classes")
