"""Differentially private training: what it logs, that it resumes exactly, and what it refuses."""

import json
import shutil

import pytest
import torch
import yaml
from omegaconf import OmegaConf

pytest.importorskip("opacus")

from lightning_gen.config.build import build_data, build_model
from lightning_gen.data.poisson import PoissonLoader, poisson_sample
from lightning_gen.errors import UserError
from lightning_gen.training.privacy import check
from lightning_gen.training.train import train
from tests.helpers import assert_same, composed, logged, quick, resume_run, train_run

PRIVATE = ("networks=mlp", "dataset.limit=100", "privacy=dp_sgd", "privacy.noise_seed=5")
SHORT = ("networks.encoder.widths=[16]", "checkpoint.every_n_steps=2")


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    path = tmp_path_factory.mktemp("private") / "vae"
    return train_run(path, "model=vae", *PRIVATE, *SHORT, "trainer.max_steps=4")


def weights(run):
    return run.read_checkpoint("last")["state_dict"]


def test_epsilon_rises_to_the_budget_and_no_loss_of_training_images_is_logged(vae):
    run, summary = vae
    rows = [row for row in logged(run.path) if row["privacy/epsilon"]]
    spent = [float(row["privacy/epsilon"]) for row in rows]
    assert len(spent) == 4
    assert spent == sorted(spent)
    assert 7.9 < spent[-1] <= 8
    assert summary["privacy"]["epsilon"] == pytest.approx(spent[-1], rel=1e-6)
    assert {name for name in rows[0] if name.startswith("train/")} == {"train/private_gradient_norm"}
    assert not any(name.endswith("_floor") or "pca" in name for name in summary["metrics"])  # of training images
    assert summary["progress"]["images_seen"] == 4 * 16
    assert json.loads((run.path / "summary.json").read_text())["privacy"]["rate"] == 0.16


@pytest.mark.parametrize("model", [("model=vae",), ("model=gan", "model/penalty=none", "model.d_steps=2")])
def test_a_resumed_run_equals_one_without_interruption(vae, tmp_path, model):
    options = (*model, *PRIVATE, *SHORT)
    whole = vae[0] if model == ("model=vae",) else train_run(tmp_path / "whole", *options, "trainer.max_steps=4")[0]
    part = shutil.copytree(whole.path, tmp_path / "part")
    (part / "checkpoints" / "previous.ckpt").replace(part / "checkpoints" / "last.ckpt")  # of step 2
    resumed, _ = resume_run(part, 4)
    assert_same(weights(resumed), weights(whole))


def test_a_secret_seed_is_kept_for_its_owner_and_gives_other_weights(vae, tmp_path):
    options = [option for option in (*PRIVATE, *SHORT) if "noise_seed" not in option]
    run, _ = train_run(tmp_path / "secret", "model=vae", *options, "trainer.max_steps=4")
    secret = run.path / "noise_seed"
    assert secret.stat().st_mode & 0o077 == 0
    assert secret.read_text().strip() not in (run.path / "config.yaml").read_text()
    assert any(not torch.equal(weights(run)[name], other) for name, other in weights(vae[0]).items())
    run.config.resume, run.config.trainer.max_steps = str(run.path), 40
    with pytest.raises(UserError, match=r"trainer.max_steps=40 would spend epsilon .* more than privacy.epsilon=8"):
        train(run)


def test_each_image_is_drawn_with_the_rate_of_the_accountant_independently():
    counts = torch.zeros(50)
    sizes = []
    for number in range(2000):
        chosen = poisson_sample(3, number, 50, 0.2)
        counts[chosen] += 1
        sizes.append(len(chosen))
    assert (counts / 2000 - 0.2).abs().max() < 5 * (0.2 * 0.8 / 2000) ** 0.5
    assert torch.tensor(sizes).double().var().item() == pytest.approx(50 * 0.2 * 0.8, rel=0.15)  # binomial
    assert min(sizes) >= 1
    assert len(poisson_sample(3, 0, 50, 1.0)) == 50


def test_the_loader_starts_in_the_middle_of_its_stream():
    data = build_data(composed(*quick("dataset.limit=100"))).load().train
    stream = iter(PoissonLoader(data, 10, seed=0, secret=1, batches_per_step=2))
    parts = [next(stream) for _ in range(3)]
    again = next(iter(PoissonLoader(data, 10, seed=0, secret=1, batches_per_step=2, start=40)))
    assert again.sizes == parts[2].sizes
    assert torch.equal(again.images, parts[2].images)
    assert sum(again.sizes) == len(again.images)


REFUSED = {
    ("model=vae", "networks=conv"): "excludes batch norm",
    ("model=vae", "model/objective=free_bits"): "objective of single images",
    ("model=vae", "model/likelihood=optimal_gaussian"): "likelihood of single images",
    ("model=vae", "model/prior=vamp"): "prior that starts from images",
    ("model=vae", "model.output_bias=data_mean"): "mean image",
    ("model=vae", "model/likelihood=gaussian", "dataset=gaussians", "networks=mlp"): "is for images",
    ("model=ae", "model/regularizer=contractive"): "without a penalty",
    ("model=ae", "networks.encoder.dropout=0.5"): "excludes dropout",
    ("model=gan",): "model/penalty=none",
    ("model=gan", "model/penalty=none", "model/augment=diffaugment"): "model/augment=none",
    ("model=gan", "model/penalty=none", "model/loss=relativistic_paired"): "compare real with generated",
    ("model=wae",): "use model=ae, vae or gan",
    ("model=vae", "trainer.devices=2"): "trainer.devices=1",
    ("model=vae", "trainer.precision=bf16-mixed"): "trainer.precision=32-true",
    ("model=vae", "trainer.accumulate_grad_batches=2"): "accumulate_grad_batches=1",
    ("model=vae", "trainer.gradient_clip_val=1"): "gradient_clip_val=null",
    ("model=vae", "on_divergence=rollback"): "on_divergence=stop",
    ("model=vae", "dataset.batch_size=101"): "at most 100",
    ("model=vae", "evaluation.split=train"): "evaluation.split=test",
    ("model=vae", "evaluation.metrics=[memorization]"): "memorization",
}


@pytest.mark.parametrize("choices", REFUSED, ids=lambda choices: " ".join(choices))
def test_what_breaks_the_guarantee_is_refused(choices):
    groups = [choice for choice in choices if "/" in choice or choice.startswith(("model=", "networks=", "dataset="))]
    networks = () if "networks=conv" in groups else ("networks=mlp",)
    config = composed(*quick(*groups, *networks, *PRIVATE[1:]))
    for key, _, value in (choice.partition("=") for choice in choices if choice not in groups):
        OmegaConf.update(config, key, yaml.safe_load(value))
    data = build_data(config)
    with pytest.raises(UserError, match=REFUSED[choices]):
        check(config, build_model(config, data.image_shape), data)
