"""Autoencoders: every choice trains, stages follow the step, resuming is to the bit."""

import csv

import pytest
import torch
from pytorch_lightning import Callback

from lightning_gen.config.build import build_data, build_model
from lightning_gen.errors import UserError
from lightning_gen.models.pretraining import Pretraining
from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, resume_run, train_run

STACK = ("model=ae", "networks=mlp", "networks.encoder.widths=[24,12]", "networks.encoder.activation=sigmoid")


class StopAt(Callback):
    """Asks to stop after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.step


def rows(run):
    with open(run.path / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "choice",
    [
        "model/reconstruction=cross_entropy",
        "model/reconstruction=l1",
        "model/corruption=masking",
        "model/corruption=gaussian",
        "model/corruption=salt_and_pepper",
        "model/regularizer=l1",
        "model/regularizer=k_sparse",
        "model/regularizer=contractive",
        "model/regularizer=rae_l2",
        "model/regularizer=rae_gp",
        "networks.spectral_norm=decoder",
        "networks.decoder.tied=true",
        "networks=single_layer",
        "model.max_shift=1",
    ],
)
def test_every_choice_trains_and_can_be_used_afterwards(tmp_path, choice):
    run, summary = train_run(tmp_path / "run", "model=ae", "networks=mlp", choice, "trainer.max_steps=30")
    first, last = float(rows(run)[1]["train/reconstruction"]), summary["metrics"]["train/reconstruction"]
    assert last < first
    model = load_model(run, "last")
    images = torch.rand(5, 1, 8, 8)
    assert model.reconstruct(images).shape == images.shape
    assert model.sample(3).shape == (3, 1, 8, 8)


def test_kl_sparsity_needs_bounded_codes_and_reaches_its_target(tmp_path):
    options = ("model=ae", "networks=single_layer", "model/regularizer=kl", "trainer.max_steps=200")
    with pytest.raises(UserError, match=r"model\.code_activation=sigmoid"):
        train_run(tmp_path / "linear", *options)
    heavy = ("model.code_activation=sigmoid", "model.regularizer.weight=20", "model.regularizer.target=0.1")
    run, _ = train_run(tmp_path / "run", *options, *heavy, "model.optimizer.lr=0.02")
    codes = load_model(run, "last").encode(build_data(run.config).train.images / 255)
    assert float(codes.mean()) == pytest.approx(0.1, abs=0.03)


def test_the_stage_is_a_function_of_the_step():
    pretraining = Pretraining([None] * 3, steps_per_layer=10)
    assert [pretraining.stage(step) for step in (0, 9, 10, 29, 30, 1000)] == [0, 0, 1, 2, 3, 3]
    assert [pretraining.progress(step, 50) for step in (0, 9, 10, 30, 49)] == [
        (0, 10),
        (9, 10),
        (0, 10),
        (0, 20),
        (19, 20),
    ]
    assert Pretraining([], steps_per_layer=0).stage(0) == 0


def test_a_stage_moves_its_own_layer_only_and_is_logged(tmp_path):
    options = (*STACK, "model.pretrain.steps_per_layer=4", "trainer.max_steps=14", "checkpoint.every_n_steps=1000")
    run, _ = train_run(tmp_path / "whole", *options)
    table = rows(run)[1:]
    assert [float(row["train/stage"]) for row in table] == [1.0] * 4 + [2.0] * 4 + [3.0] * 4 + [4.0] * 2
    assert all(row["train/loss_layer2"] for row in table[4:8])
    assert [bool(row["train/loss"]) for row in table] == [False] * 12 + [True] * 2

    torch.manual_seed(0)
    model = build_model(run.config, (1, 8, 8))
    for stage, layer in enumerate(model.pretraining.layers):
        model.zero_grad()
        images = torch.rand(6, 1, 8, 8)
        model.pretraining.loss(stage, images, None, model.reconstruction, model.noise).sum().backward()
        moved = {id(p) for p in model.parameters() if p.grad is not None}
        assert moved == {id(p) for part in (layer.encode, layer.decode) for p in part.parameters()}


def test_corruption_by_layer_must_have_a_number_a_layer(tmp_path):
    options = (*STACK, "model/corruption=masking", "model.pretrain.steps_per_layer=4")
    with pytest.raises(UserError, match=r"model\.pretrain\.amounts"):
        train_run(tmp_path / "run", *options, "model.pretrain.amounts=[0.1,0.2]")
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        train_run(tmp_path / "short", *options, "trainer.max_steps=11")
    with pytest.raises(UserError, match="networks=mlp"):
        train_run(tmp_path / "conv", "model=ae", "networks=conv", "model.pretrain.steps_per_layer=4")


STAGES = (
    *STACK,
    "networks.decoder.tied=true",
    "model/corruption=masking",
    "model.pretrain.steps_per_layer=4",
    "model.pretrain.amounts=[0.1,0.2,0.3]",
    "model.max_shift=1",
    "ema.half_life=100",
    "trainer.max_steps=16",
    "evaluation.held_out=20",
)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run through all stages."""
    return train_run(tmp_path_factory.mktemp("stages") / "straight", *STAGES)[0]


@pytest.mark.parametrize("stop", [2, 4, 7, 13])
def test_resume_within_and_between_stages_is_bit_identical(tmp_path, straight, stop, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GEN_TRUST", "tests")  # the callback that stops is none of the package
    stop_at = f"+callbacks.stop={{_target_: tests.models.test_autoencoder.StopAt, step: {stop}}}"
    stopped, summary = train_run(tmp_path / "stopped", *STAGES, stop_at)
    assert summary["progress"]["step"] == stop
    resumed, _ = resume_run(stopped.path, 16)
    for part in ("state_dict", "optimizer_states", "images_seen"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert_same(straight.read_checkpoint()["callbacks"]["EMA"], resumed.read_checkpoint()["callbacks"]["EMA"])
