"""Evaluate and sample take a run directory and nothing else."""

import json
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lightning_gen import load
from lightning_gen.cli import app, main
from lightning_gen.errors import UserError
from tests.helpers import train_run


@pytest.fixture(scope="module", params=["ae", "vae", "gan"])
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "run"
    return train_run(path, f"model={request.param}", "networks=mlp", "trainer.max_steps=5")[0]


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_sample_grid(run, tmp_path):
    invoke("sample", run.path, "-n", 16, "-o", tmp_path)
    assert 600 <= Image.open(tmp_path / "grid.png").size[0] <= 900  # digits of 8 pixels, enlarged


def test_sample_single_images(run, tmp_path):
    invoke("sample", run.path, "-n", 3, "-o", tmp_path, "--format", "png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    assert Image.open(tmp_path / "000000.png").size == (8, 8)


def test_sample_array_depends_on_the_seed_alone(run, tmp_path):
    arrays = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        invoke("sample", run.path, "-n", 300, "-o", tmp_path / name, "--format", "npz", "--seed", seed)
        arrays.append(np.load(tmp_path / name / "samples.npz")["images"])
    assert arrays[0].dtype == np.uint8
    assert arrays[0].shape == (300, 1, 8, 8)
    assert (arrays[0] == arrays[1]).all()
    assert (arrays[0] != arrays[2]).any()


def test_evaluate_finds_the_numbers_of_the_run(run):
    """The last checkpoint, measured again from the directory alone, gives what the run recorded."""
    recorded = run.read_summary()["metrics"]
    invoke("evaluate", run.path, "checkpoint=last")
    again = run.read_summary()["evaluations"][-1]["metrics"]
    assert again.keys() == {name for name in recorded if name.startswith("eval/")}
    for name, value in again.items():
        assert value == pytest.approx(recorded[name], rel=1e-5), name


def evaluations(run):
    return run.read_summary().get("evaluations", [])


def test_evaluate_adds_to_the_record_and_replaces_nothing_else(run):
    before = evaluations(run)
    for _ in range(2):  # the second time in place of the first
        invoke("evaluate", run.path, "evaluation.num_samples=40")
    after = evaluations(run)
    assert after[:-1] == before
    entry = after[-1]
    assert (entry["evaluation"], entry["checkpoint"]) == ("quick", "best")
    how = entry["protocol"]["eval/fid_classifier"]
    assert (how["n_fake"], how["checkpoint"], how["step"]) == (40, "best", run.read_checkpoint("best")["global_step"])
    assert run.read_summary()["protocol"]["eval/fid_classifier"]["n_fake"] == 20


def test_evaluate_by_another_protocol(run):
    """A named protocol is what its file says, whatever the run was trained with; values go on top."""
    invoke("evaluate", run.path, "evaluation=standard", "evaluation.num_samples=300", "evaluation/extractor=random")
    entry = evaluations(run)[-1]
    how = entry["protocol"]["eval/fid_random"]
    assert (entry["evaluation"], how["extractor"], how["n_fake"]) == ("standard", "random-conv-s0", 300)
    assert {"eval/kid_random", "eval/coverage", "eval/auth_pct"} <= set(entry["metrics"])
    assert entry["protocol"]["eval/auth_pct"]["n_train"] == 1437
    assert 600 <= Image.open(run.path / "neighbours" / "standard_best.png").size[0] <= 900
    invoke("evaluate", run.path, "evaluation.split=train")
    how = evaluations(run)[-1]["protocol"]["eval/fid_classifier"]
    assert (how["split"], how["n_real"], how["n_fake"]) == ("train", 1437, 20)  # 20: the run's own


def test_compare(run, tmp_path):
    out = invoke("compare", run.path, "--markdown", "--csv", tmp_path / "table.csv")
    assert "fid_classifier" in out
    assert (tmp_path / "table.csv").is_file()


def test_checkpoints_hold_tensors_and_plain_containers(run):
    for name in ("last", "best"):
        state = torch.load(run.checkpoint_path(name), weights_only=True)
        assert state["state_dict"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "/nonexistent"], "/nonexistent is not a run directory"),
        (["evaluate", "/nonexistent"], "/nonexistent is not a run directory"),
    ],
)
def test_mistakes(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightning-gen", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_mistakes_in_a_run(run, monkeypatch):
    from lightning_gen.errors import UserError

    with pytest.raises(UserError, match="no checkpoint at"):
        invoke("sample", run.path, "--checkpoint", run.path / "nothing.ckpt")
    with pytest.raises(UserError, match=r"'evaluation\.num_sample'. Did you mean 'evaluation\.num_samples'"):
        invoke("evaluate", run.path, "evaluation.num_sample=5")
    with pytest.raises(UserError, match=r"evaluation=standart does not exist.*Did you mean 'standard'"):
        invoke("evaluate", run.path, "evaluation=standart")
    with pytest.raises(UserError, match="evaluate takes"):
        invoke("evaluate", run.path, "model.latent_dim=5")
    with pytest.raises(UserError, match="evaluation/extractor=random"):
        invoke("evaluate", run.path, "evaluation.extractor=random")
    monkeypatch.setenv("LIGHTNING_GEN_INCEPTION", "/nonexistent")
    with pytest.raises(UserError, match="no Inception weights at /nonexistent"):
        invoke("evaluate", run.path, "evaluation=fid50k_train")
    with pytest.raises(UserError, match="Cannot write"):
        invoke("sample", run.path, "-o", run.path / "config.yaml")


def test_summary_names_every_number(run):
    summary = json.loads((run.path / "summary.json").read_text())
    assert set(summary) >= {"metrics", "best", "progress", "protocol", "provenance", "status"}
    protocol = summary["protocol"]["eval/fid_classifier"]
    assert {"extractor", "weights_hash", "resizer", "n_fake", "n_real", "split", "seed", "ema"} <= set(protocol)


def test_samples_of_one_class_and_of_typical_codes(tmp_path, capsys):
    """A conditional generator draws a given class; an unknown class is an error."""
    from lightning_gen.errors import UserError

    conditional = ("model=gan", "conditional=true", "networks=mlp", "trainer.max_steps=30")
    run = train_run(tmp_path / "run", *conditional, "model.generator_optimizer.lr=1e-2")[0]

    def drawn(*options):
        invoke("sample", run.path, "-n", 20, "-o", tmp_path / "out", "--format", "npz", *options)
        return np.load(tmp_path / "out" / "samples.npz")["images"].astype(float)

    three, five = drawn("--label", 3), drawn("--label", 5)
    assert abs(three.mean(0) - five.mean(0)).max() > 5
    assert drawn("--label", 3, "--truncation", 0.1).std(0).mean() < 0.5 * three.std(0).mean()
    with pytest.raises(UserError, match="knows the classes 0 to 9"):
        invoke("sample", run.path, "--label", 10)
    autoencoder = train_run(tmp_path / "ae", "model=ae", "networks=mlp", "trainer.max_steps=1")[0]
    with pytest.raises(UserError, match="truncation works with GANs"):
        invoke("sample", autoencoder.path, "--truncation", 0.5)


def test_truncation_of_stylegan2_is_in_its_styles(tmp_path):
    """Its mapping normalizes the code, so that a smaller one would be the same image."""
    networks = ("networks=stylegan2", "networks.encoder.channel_base=256", "networks.encoder.channel_max=8")
    run = train_run(tmp_path / "run", "model=gan", *networks, "networks.decoder.style_dim=8", "trainer.max_steps=3")[
        0
    ]
    drawn = {}
    for psi in (0.5, 1):
        invoke("sample", run.path, "-n", 20, "-o", tmp_path, "--format", "npz", "--truncation", psi)
        drawn[psi] = np.load(tmp_path / "samples.npz")["images"].astype(float)
    assert drawn[0.5].std(0).mean() < 0.7 * drawn[1].std(0).mean()


@pytest.mark.parametrize(
    ("format", "told"),
    [
        ("grid", "memory are free: use --format png or npz, or draw fewer"),
        ("npz", "memory are free: use --format png, or draw fewer"),
        ("png", "free: draw fewer"),
    ],
)
def test_more_images_than_there_is_room_for_are_refused_at_once(run, tmp_path, format, told):
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"^1,000,000,000,000 images take about [\d,.]+ GB, and [\d.]+ GB .*{told}"):
        invoke("sample", run.path, "-n", 10**12, "-o", tmp_path / "new" / "out", "--format", format)
    assert time.monotonic() - start < 20
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=r"take [\d,.]+ GB of memory"):
        load(run.path).sample(10**12)


def test_single_images_are_written_as_they_are_drawn(run, tmp_path, monkeypatch):
    """The images are those of one array, and a stop in the middle leaves those that were drawn."""
    invoke("sample", run.path, "-n", 600, "-o", tmp_path, "--format", "npz")
    invoke("sample", run.path, "-n", 600, "-o", tmp_path, "--format", "png")
    together = np.load(tmp_path / "samples.npz")["images"]
    assert (np.asarray(Image.open(tmp_path / "000599.png")) == together[599, 0]).all()
