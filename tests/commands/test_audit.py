"""lightning-gen audit: an overfitted model is told apart, whatever the attack; what it writes, and what it refuses."""

import json

import pytest
import torch
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.commands.audit import Protocol, audit_run
from lightning_gen.config.build import build_data
from lightning_gen.errors import UserError
from lightning_gen.evaluation.membership import audited
from tests.helpers import train_run

SMALL = Protocol(images=100, samples=50, draws=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "run"
    options = ("model=vae", "networks=mlp", "dataset.limit=40", "model.optimizer.lr=3e-3", "trainer.max_steps=400")
    return train_run(path, *options)[0]


def test_an_overfitted_vae_is_told_apart_and_the_record_says_how(run):
    output = CliRunner().invoke(
        app, ["audit", str(run.path), "--images", "150", "--samples", "50", "--checkpoint", "last"]
    )
    assert "too few images" in output.output  # for a false-positive rate of 0.1 %
    entry = json.loads((run.path / "audit" / "last.json").read_text())
    assert entry["attacks"]["reconstruction"]["auroc"]["low"] > 0.5
    assert entry["attacks"]["bound"]["auroc"]["low"] > 0.5
    assert entry["attacks"]["bound"]["tpr_at_0.001"] is None
    protocol = entry["protocol"]
    assert (protocol["members"], protocol["others"]) == (40, 150)
    assert protocol["others_from"] == "training images that the run left out"
    assert (run.path / "audit" / "last.png").is_file()


def test_an_audit_repeats_exactly(run):
    assert audit_run(run.path, "last", [], SMALL) == audit_run(run.path, "last", [], SMALL)


def test_members_are_the_images_of_the_training(run):
    data = build_data(run.config)
    found = audited(data, 40, seed=0)
    own = {image.numpy().tobytes() for image in data.train.images}
    assert {image.numpy().tobytes() for image in found.members.images} == own
    assert torch.isin(found.rows[:40], data.kept()[0]).all()
    assert not torch.isin(found.rows[40:], data.kept()[0]).any()


def test_a_gan_is_attacked_by_its_discriminator_and_its_samples_and_by_shadow_runs(tmp_path):
    options = ("model=gan", "networks=mlp", "dataset.fraction=0.5", "trainer.max_steps=2")
    paths = [train_run(tmp_path / str(seed), *options, f"seed={seed}")[0].path for seed in range(3)]
    entry = audit_run(paths[0], "last", paths[1:], SMALL)
    plain = {"discriminator", "distance"}
    assert set(entry["attacks"]) == plain | {f"{name}+lira" for name in plain}
    assert entry["attacks"]["distance"]["members"] == 100
    assert 50 < entry["attacks"]["distance+lira"]["members"] < 100  # some are in both shadow runs
    with pytest.raises(UserError, match="2 or more runs"):
        audit_run(paths[0], "last", paths[1:2], SMALL)
    with pytest.raises(UserError, match="almost every audited image is in all"):
        audit_run(paths[0], "last", [paths[0], paths[0]], SMALL)
