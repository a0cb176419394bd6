"""Folders of exports: what a card says, and reading a model back in this package."""

import json
import shutil

import pytest
import torch

import lightning_gen as lg
from lightning_gen.commands.export import export_run
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from tests.export.families import CONDITIONAL, MLP
from tests.helpers import train_run

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional VAE with averaged weights."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train_run(folder, "model=vae", *MLP, *CONDITIONAL[:1], "trainer.max_steps=3", "ema.half_life=30")
    return folder


@pytest.fixture(scope="module")
def hub(run):
    export_run(run, "last", "hub", None)
    return run / "export" / "hub"


def test_the_hubs_layout_is_read_back(run, hub):
    """lg.load of the folder gives the run's model to the bit, with its averaged weights."""
    assert {path.name for path in hub.iterdir()} == {"model.safetensors", "config.json", "README.md", "samples.png"}
    ours, read = lg.load(run, "last", "cpu"), lg.load(hub, device="cpu")
    assert ours.model.averaged
    assert read.model.averaged
    assert torch.equal(ours.sample(8, seed=1, label=2), read.sample(8, seed=1, label=2))
    images, labels = torch.rand(4, 1, 8, 8), [0, 3, 9, 1]
    assert torch.equal(ours.encode(images, labels), read.encode(images, labels))
    assert read.model.step_loaded == 3
    assert read.metrics["eval/elbo"] == ours.metrics["eval/elbo"]
    assert "3" in repr(read)


def test_the_card_says_what_goes_in_and_out(run, tmp_path):
    printed = export_run(run, "last", "torchscript", tmp_path)
    card = json.loads((tmp_path / "config.json").read_text())
    assert card["data"] == {"name": "digits", "license": "CC BY 4.0"}
    assert (card["model"], card["step"], card["weights"]) == ("vae", 3, "averaged")
    sampler = card["parts"]["sampler"]
    assert sampler["inputs"][0] == {
        "name": "normal",
        "dtype": "float32",
        "shape": ["batch", card["latent_dim"]],
        "values": "drawn from N(0, 1)",
    }
    assert sampler["inputs"][1]["values"] == "classes, 0 to 9"
    assert sampler["output"]["shape"] == ["batch", 1, 8, 8]
    assert sampler["output"]["values"] == "pixels in [0, 1]"
    assert all(one["protocol"]["step"] == 3 for one in card["metrics"])
    assert any(one["name"] == "eval/elbo" for one in card["metrics"])
    assert "sampler.pt" in printed
    with pytest.raises(UserError, match=r"reads exports with --format safetensors or hub"):
        lg.load(tmp_path)


def test_the_config_of_a_strangers_export_calls_nothing_else(hub, tmp_path):
    folder = tmp_path / "stranger"
    shutil.copytree(hub, folder)
    card = json.loads((folder / "config.json").read_text())
    card["config"]["model"]["_target_"] = "os.system"
    (folder / "config.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"os\.system"):
        lg.load(folder)


def test_damaged_weights_are_told(hub, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(hub, folder)
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read"):
        lg.load(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is not the card"):
        lg.load(folder)


def test_what_cannot_be_exported_is_told_in_a_line(monkeypatch, tmp_path):
    """The sampler of a VQ-VAE is a loop over its codes."""
    from lightning_gen.export.folder import write_graphs
    from tests.export.families import family
    from tests.helpers import make_run

    run, model = make_run(tmp_path / "run", "model=vqvae"), family("vqvae")
    lines = write_graphs(Run.load(run.path), model, "best", "torchscript", tmp_path / "out")
    assert [line.split()[0] for line in lines] == ["decoder.pt", "encoder.pt", "no"]
    assert "--format hub with lightning_gen.load samples" in lines[-1]
    assert "sampler" in json.loads((tmp_path / "out" / "config.json").read_text())["left_out"]
