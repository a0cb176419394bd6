"""Each model trains with each pair of networks, counts its steps, and evaluates without a trace."""

import contextlib
import csv
import itertools
import json
import math
import shutil
import signal

import pytest
import torch
from PIL import Image

from lightning_gen.errors import UserError
from lightning_gen.metrics import METRICS, classifier
from lightning_gen.models.steps import StepModule
from tests.helpers import assert_same, quick, train_run

GRID = list(itertools.product(("ae", "vae", "gan"), (("mlp", 0), ("conv", 1))))
CONV = ("networks=conv", "networks.encoder.width=8", "networks.decoder.width=8", "evaluation.held_out=40")
STATE = ("state_dict", "optimizer_states", "callbacks")


def checkpoint(run, which="last"):
    return run.read_checkpoint(which)


@pytest.mark.parametrize(("model", "networks_and_seed"), GRID)
def test_every_combination_trains(tmp_path, drawn_pictures, model, networks_and_seed):
    networks, seed = networks_and_seed
    options = (f"model={model}", f"networks={networks}", f"seed={seed}", "trainer.max_steps=4")
    _run, summary = train_run(tmp_path, *options)
    assert summary["status"] == "completed"
    assert summary["progress"]["step"] == 4
    assert summary["progress"]["images_seen"] == 4 * 16
    assert 0 < summary["progress"]["waiting_for_data"] < 1
    assert 0.05 < summary["progress"]["peak_memory_gib"] < 100
    assert summary["provenance"]["seed"] == seed
    assert all(math.isfinite(value) for value in summary["metrics"].values())
    assert set(summary["protocol"]) == {name for name in summary["metrics"] if name.startswith("eval/")}
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(summary, default=float))
    for name in ("samples/step_00000004.png", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "config.yaml"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "reconstructions").is_dir() == (model != "gan")


@pytest.mark.parametrize("model", ["ae", "vae", "gan"])
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 1), (64, 3)])
def test_other_sizes_and_channels(tmp_path, model, size, channels):
    sizes = (
        f"dataset.size={size}",
        f"dataset.channels={channels}",
        "networks.encoder.width=4",
        "networks.decoder.width=4",
        "dataset.limit=64",
        "evaluation.held_out=20",
    )
    _, summary = train_run(tmp_path, f"model={model}", "trainer.max_steps=1", *sizes)
    assert summary["progress"]["step"] == 1


@pytest.mark.parametrize("d_steps", [1, 5])
def test_max_steps_counts_generator_updates(tmp_path, drawn_pictures, d_steps):
    run, summary = train_run(
        tmp_path,
        "model=gan",
        "networks=mlp",
        f"model.d_steps={d_steps}",
        "trainer.max_steps=100",
        "trainer.log_every_n_steps=25",
        "checkpoint.every_n_steps=40",
        "evaluation.every_n_steps=50",
    )
    state = checkpoint(run)
    generator, discriminator = (s["state"][0]["step"] for s in state["optimizer_states"])
    assert (generator, discriminator) == (100, 100 * d_steps)
    assert state["global_step"] == 100
    assert state["images_seen"] == summary["progress"]["images_seen"] == 100 * d_steps * 16
    with open(tmp_path / "metrics.csv") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    assert list(rows) == [0, 25, 50, 75, 100]
    assert [int(row["images_seen"]) for row in rows.values()] == [s * d_steps * 16 for s in rows]
    assert [s for s in rows if rows[s]["eval/fid_classifier"]] == [0, 50, 100]
    shown = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert shown == ["progress.webp", *(f"step_{s:08d}.png" for s in (0, 50, 100))]
    assert Image.open(tmp_path / "samples" / "progress.webp").n_frames == 3


@pytest.mark.parametrize("model", ["ae", "vae", "gan"])
def test_evaluation_leaves_no_trace(tmp_path, model, monkeypatch):
    """With every metric, also those that train networks of their own."""
    recipe = classifier.Recipe
    monkeypatch.setattr(classifier, "Recipe", lambda seed: recipe(seed=seed, epochs=1, min_steps=0))
    common = (f"model={model}", "trainer.max_steps=6", *CONV)
    everything = f"evaluation.metrics=[{','.join([*METRICS, 'reconstruction'])}]"
    often, summary = train_run(
        tmp_path / "often", *common, "evaluation.every_n_steps=3", "evaluation.num_samples=40", everything
    )
    assert {"eval/tstr", "eval/c2st", "eval/kid_classifier", "eval/auth_pct"} <= set(summary["metrics"])
    assert set(summary["protocol"]) == {name for name in summary["metrics"] if name.startswith("eval/")}
    never, _ = train_run(tmp_path / "never", *common, "evaluation.every_n_steps=1000", "evaluation.num_samples=2")
    a, b = checkpoint(often), checkpoint(never)
    for part in ("state_dict", "optimizer_states", "random_state"):
        assert_same(a[part], b[part])
    assert_same(a["callbacks"].get("EMA", {}), b["callbacks"].get("EMA", {}))


def test_sprites_have_factors_to_disentangle(tmp_path):
    options = ("evaluation.metrics=[disentanglement,reconstruction]", "checkpoint.monitor=eval/elbo")
    options += ("model=vae", "model.latent_dim=4", "networks=mlp", "dataset=sprites", "trainer.max_steps=0")
    _, summary = train_run(tmp_path, *options)
    for name in ("mig", "sap", "factor_vae_score", "dci_disentanglement", "dci_completeness", "dci_informativeness"):
        assert 0 <= summary["metrics"][f"eval/{name}"] <= 1
    how = summary["protocol"]["eval/mig"]
    assert (how["images"], how["n_real"], how["split"]) == ("codes", 4608, "train+test")


@pytest.mark.parametrize("model", ["ae", "vae", "gan"])
def test_the_seed_decides(tmp_path, model):
    runs = [
        train_run(tmp_path / str(i), f"model={model}", *CONV, f"seed={s}", "trainer.max_steps=3")[0]
        for i, s in enumerate((0, 0, 1))
    ]
    first, again, other = (checkpoint(run)["state_dict"] for run in runs)
    assert_same(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_no_steps_evaluates_the_untrained_model(tmp_path):
    _, summary = train_run(tmp_path, "model=gan", "trainer.max_steps=0", "evaluation.num_samples=200")
    assert summary["progress"]["step"] == 0
    assert summary["metrics"]["eval/fid_classifier"] > 20 * summary["metrics"]["eval/fid_classifier_floor"]


@pytest.mark.parametrize("options", [("trainer.max_steps=2",), ("model.optimizer.lr=1e30", "trainer.max_steps=20")])
def test_signals_are_handled_as_before_when_training_has_ended_or_failed(tmp_path, options):
    """The next job of a multirun, or a notebook, is stopped by Ctrl-C and SIGTERM in its own way."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with contextlib.suppress(UserError):
        train_run(tmp_path, "model=ae", "networks=mlp", *options)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_best_is_the_step_with_the_best_metric(tmp_path):
    run, summary = train_run(
        tmp_path, "model=ae", "networks=mlp", "trainer.max_steps=40", "evaluation.every_n_steps=10"
    )
    with open(tmp_path / "metrics.csv") as file:
        scores = {
            int(row["step"]): float(row["eval/reconstruction_mse"])
            for row in csv.DictReader(file)
            if row["eval/reconstruction_mse"]
        }
    best = min(scores, key=scores.__getitem__)
    assert summary["best"] == {"metric": "eval/reconstruction_mse", "value": scores[best], "step": best}
    assert checkpoint(run, "best")["global_step"] == best


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    from lightning_gen.errors import UserError

    with pytest.raises(UserError, match=r"the loss is not finite at step \d+.*learning rate"):
        train_run(tmp_path, "model=ae", "networks=mlp", "model.optimizer.lr=1e30", "trainer.max_steps=20")
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("step", [1, 3])  # before a row of metrics.csv, and in an evaluation
def test_a_run_directory_that_is_deleted_ends_the_run_and_is_not_made_again(
    tmp_path, train_command, monkeypatch, step
):
    original, calls = StepModule.begin_step, []

    def deleting(model):
        original(model)
        calls.append(None)
        if len(calls) == step:
            shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(StepModule, "begin_step", deleting)
    rows = f"trainer.log_every_n_steps={1 if step == 1 else 100}"
    options = ("model=ae", "networks=mlp", rows, "evaluation.every_n_steps=3", "trainer.max_steps=5")
    done = train_command(*quick(*options), f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 2
    assert done.stderr.count("has been deleted or moved") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    assert len(calls) == step
