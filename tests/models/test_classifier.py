"""Classifiers on the encoder of a run: frozen or tuned, and a directory that is enough."""

import shutil

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.runs.loading import load_model
from lightning_gen.training.train import prepare
from tests.helpers import assert_same, make_run, resume_run, train_run

CLASSIFIER = ("model=classifier", "trainer.max_steps=40", "model.optimizer.lr=0.01", "dataset.batch_size=64")
SMALL = ("networks=mlp", "networks.encoder.widths=[64]", "trainer.max_steps=100")


@pytest.fixture(scope="module", params=["ae", "vae"])
def source(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "source"
    return train_run(path, f"model={request.param}", *SMALL)[0]


@pytest.mark.parametrize("freeze", [True, False])
def test_the_encoder_starts_from_the_run_and_moves_unless_frozen(tmp_path, source, freeze):
    options = (f"encoder_from={source.path}", f"model.freeze={freeze}")
    start = prepare(make_run(tmp_path / "start", *CLASSIFIER, *options)).model
    run, summary = train_run(tmp_path / "run", *CLASSIFIER, *options)
    assert summary["metrics"]["eval/accuracy"] > 0.3  # chance is 0.1
    images = torch.rand(4, 1, 8, 8)
    codes = load_model(source, "last").encode(images)
    torch.testing.assert_close(start.eval().encode(images), codes)
    assert torch.equal(load_model(run, "last").encode(images), codes) == freeze


def test_the_directory_is_enough_once_training_has_begun(tmp_path, source):
    copy = tmp_path / "copy"
    shutil.copytree(source.path, copy)
    options = (*CLASSIFIER, f"encoder_from={copy}", "ema.half_life=500")
    straight, _ = train_run(tmp_path / "straight", *options)
    stopped, _ = train_run(tmp_path / "resumed", *options, "trainer.max_steps=15")
    shutil.rmtree(copy)
    resumed, _ = resume_run(stopped.path, 40)
    for part in ("state_dict", "optimizer_states"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])


def test_from_scratch_it_has_the_networks_of_the_command(tmp_path):
    widths = ("networks=mlp", "networks.encoder.widths=[20]", "model.source.model.latent_dim=7")
    run, _ = train_run(tmp_path / "run", *CLASSIFIER, *widths, "trainer.max_steps=2")
    model = load_model(run, "last")
    trained = [p.shape for p in build(run).parameters() if p.requires_grad]
    assert [tuple(shape) for shape in trained] == [(20, 64), (20,), (7, 20), (7,), (10, 7), (10,)]
    assert model.encode(torch.rand(2, 1, 8, 8)).shape == (2, 7)


def build(run):
    from lightning_gen.config.build import build_model

    return build_model(run.config, (1, 8, 8))


def test_mistakes_name_their_override(tmp_path, source):
    with pytest.raises(UserError, match="not a run directory"):
        train_run(tmp_path / "none", *CLASSIFIER, f"encoder_from={tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match=r"dataset\.size"):
        train_run(tmp_path / "size", *CLASSIFIER, f"encoder_from={source.path}", "dataset.size=16")
