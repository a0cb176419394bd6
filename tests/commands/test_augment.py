"""lightning-gen augment, on a conditional GAN of the digits."""

import pytest
import torch
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.commands.augment import draw, labelled
from lightning_gen.data.imageset import ImageSet
from lightning_gen.errors import UserError
from lightning_gen.runs.loading import load_model
from tests.helpers import make_run, train_run


def call(*arguments):
    return CliRunner().invoke(app, ["augment", *map(str, arguments)], catch_exceptions=False).output


def test_classifiers_with_and_without_generated_images(tmp_path):
    run, _ = train_run(tmp_path / "gan", "model=gan", "conditional=true", "networks=mlp", "trainer.max_steps=2")
    printed = call(run.path, "--labels", "2,500", "--seeds", "2", "--generated", "100", "--steps", "1")
    (entry,) = run.read_summary()["augmentations"]
    assert list(entry["accuracy"]) == ["2", "500", "all"]
    assert all(len(values) == 2 for kinds in entry["accuracy"].values() for values in kinds.values())
    gain = [both - real for real, both in zip(*entry["accuracy"]["500"].values(), strict=True)]
    assert f"{50 * sum(gain):+.2f}" in printed  # the mean of both seeds, in percentage points
    assert "has learned from 1,437 labelled images" in printed
    assert "note: --labels 500: no class has more than 146 images; all are used" in printed
    fake = draw(load_model(run), 25, seed=3)
    assert fake.labels.tolist() == [*range(10), *range(10), *range(5)]
    assert (draw(load_model(run), 25, seed=3).images == fake.images).all()


def test_a_model_without_classes_is_refused(tmp_path):
    run = make_run(tmp_path / "vae", "model=vae", "networks=mlp")
    with pytest.raises(UserError, match="conditional=true"):
        call(run.path)
    with pytest.raises(UserError, match="--labels 10,few"):
        call(run.path, "--labels", "10,few")


def test_data_without_labels_are_refused():
    with pytest.raises(UserError, match="have no labels"):
        labelled(ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), None))
