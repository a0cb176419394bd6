"""A run directory in Python: what goes in and out of its model, its record, and its data on demand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lightning_gen as lg
from lightning_gen.commands.sample import Draw, sample_run
from lightning_gen.errors import UserError
from lightning_gen.runs import trained
from tests.helpers import train_run


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    path = tmp_path_factory.mktemp("vae")
    train_run(path, "model=vae", "networks=mlp", "trainer.max_steps=3")
    return lg.load(path)


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    path = tmp_path_factory.mktemp("gan")
    train_run(path, "model=gan", "conditional=true", "networks=mlp", "trainer.max_steps=3")
    return lg.load(str(path), checkpoint="last")


def test_samples_are_those_of_the_command(vae, tmp_path):
    sample_run(vae.path, "best", 300, tmp_path, "npz", Draw(seed=3))
    images = vae.sample(300, seed=3)
    assert images.shape == (300, 1, 8, 8)
    assert images.dtype == torch.float32
    assert np.array_equal(images.mul(255).round().byte(), np.load(tmp_path / "samples.npz")["images"])
    assert torch.equal(images[:250], vae.sample(250, seed=3))
    assert not torch.equal(images, vae.sample(300, seed=4))


def test_samples_go_into_a_file_of_their_format(vae, tmp_path):
    assert sample_run(vae.path, "best", 4, tmp_path / "w.png", None, Draw()).endswith("w.png")
    assert Image.open(tmp_path / "w.png").width > 28
    assert sample_run(vae.path, "best", 4, tmp_path / "w.npz", None, Draw()).endswith("w.npz")
    assert np.load(tmp_path / "w.npz")["images"].shape == (4, 1, 8, 8)
    for format, name, told in (
        ("png", "w.npz", "--format png writes a file for each image: name a folder"),
        ("npz", "w.PNG", "--format npz does not go into this file: name a folder"),
        (None, "w.jpg", "a grid of samples is a .png file, and an array an .npz file"),
    ):
        with pytest.raises(UserError, match=told):
            sample_run(vae.path, "best", 4, tmp_path / name, format, Draw())


def test_loading_and_sampling_leave_the_global_generator(vae):
    before = torch.get_rng_state()
    lg.load(vae.path).sample(2)
    assert torch.equal(before, torch.get_rng_state())


def test_images_come_in_any_form_and_in_parts(vae, monkeypatch):
    images = vae.data.test.images[:20]
    codes = vae.encode(images)
    assert codes.shape == (20, vae.model.latent_dim)
    assert torch.equal(codes, vae.model.encode((images.float() / 255).to(vae.model.device)).cpu())
    for same in (images.float() / 255, images.numpy(), images.double().div(255).numpy()):
        torch.testing.assert_close(vae.encode(same), codes)
    monkeypatch.setattr(trained, "BATCH", 7)
    torch.testing.assert_close(vae.encode(images), codes)


def test_a_reconstruction_is_the_decoded_code(vae):
    images = vae.data.test.images[:4]
    assert torch.equal(vae.reconstruct(images), vae.decode(vae.encode(images)))
    assert torch.equal(vae.decode(vae.encode(images).numpy()), vae.reconstruct(images))


def test_an_interpolation_begins_and_ends_at_the_reconstructions(vae):
    start, end = vae.data.test.images[:3], vae.data.test.images[3:6]
    lines = vae.interpolate(start, end, steps=5)
    assert lines.shape == (3, 5, 1, 8, 8)
    torch.testing.assert_close(lines[:, 0], vae.reconstruct(start))
    torch.testing.assert_close(lines[:, -1], vae.reconstruct(end))
    middle = vae.decode((vae.encode(start) + vae.encode(end)) / 2)
    torch.testing.assert_close(lines[:, 2], middle)
    assert torch.equal(lines, vae.interpolate(vae.encode(start), vae.encode(end), steps=5))


def test_the_model_is_for_evaluation_with_averaged_weights(gan):
    assert gan.model.averaged
    assert not any(module.training for module in gan.model.modules())
    assert not any(parameter.requires_grad for parameter in gan.model.parameters())
    state = torch.load(gan.path / "checkpoints" / "last.ckpt", weights_only=True)
    average = state["callbacks"]["EMA"]["average"]
    for name, tensor in gan.model.state_dict().items():
        assert torch.equal(tensor.cpu(), average.get(name, state["state_dict"][name])), name


def test_classes(gan):
    assert torch.equal(gan.sample(6, label=3, truncation=0.5), gan.sample(6, label=3, truncation=0.5))
    assert not torch.equal(gan.sample(6, label=3), gan.sample(6, label=3, truncation=0.5))
    codes, labels = torch.zeros(2, gan.model.latent_dim), [3, 5]
    three, five = gan.decode(codes, labels)
    assert not torch.equal(three, five)
    lines = gan.interpolate(codes, codes + 1, labels=np.array(labels))
    torch.testing.assert_close(lines[:, 0], torch.stack([three, five]))


def test_record(vae):
    record = json.loads((vae.path / "summary.json").read_text())
    assert vae.summary == record
    assert vae.metrics == record["metrics"]
    assert vae.config.model.name == "vae"
    for part in (str(vae.path), "vae", "digits", "1x8x8", "step   3", "eval/elbo"):
        assert part in repr(vae)


def test_a_run_of_an_earlier_version():
    run = lg.load(Path(__file__).parent / "earlier" / "gan_0_1_0")
    assert run.sample(2).shape == (2, *run.data.image_shape)
    assert run.metrics["eval/fid_classifier"] > 0


def test_data_are_read_on_demand(tmp_path):
    images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 1, 8, 8)
    np.savez(tmp_path / "mine.npz", images=images)
    options = ("model=ae", "networks=mlp", "trainer.max_steps=1", "evaluation/extractor=random")
    train_run(tmp_path / "run", "dataset=arrays", f"dataset.path={tmp_path}/mine.npz", *options)
    (tmp_path / "mine.npz").rename(tmp_path / "away.npz")
    run = lg.load(tmp_path / "run")
    assert run.sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(lg.UserError, match=r"mine\.npz"):
        _ = run.data.train
    (tmp_path / "away.npz").rename(tmp_path / "mine.npz")
    assert len(run.data.train) + len(run.data.test) == 40


def test_what_is_not_there(vae, tmp_path):
    with pytest.raises(lg.UserError, match="is not a run directory"):
        lg.load(tmp_path)
    with pytest.raises(lg.UserError, match=r"no checkpoint at nothing\.ckpt: use best, last"):
        lg.load(vae.path, checkpoint="nothing.ckpt")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.encode(torch.zeros(2, 1, 28, 28)), r"expected images \[N, 1, 8, 8\]"),
        (lambda run: run.reconstruct(torch.full((2, 1, 8, 8), 255.0)), "rescale"),
        (lambda run: run.decode(torch.zeros(2, 5)), r"expected float codes \[N, 16\], got torch.float32 \[2, 5\]"),
        (lambda run: run.decode(torch.zeros(2, 16, dtype=torch.long)), "got torch.int64"),
        (
            lambda run: run.interpolate(torch.zeros(2, 16), torch.zeros(3, 16)),
            "equal numbers of starts and ends, got 2 and 3",
        ),
        (
            lambda run: run.interpolate(torch.zeros(2, 16), torch.zeros(2, 16), steps=1),
            "use 2 or more images per line",
        ),
    ],
)
def test_arrays_of_another_shape_or_range(vae, call, message):
    with pytest.raises(ValueError, match=message):
        call(vae)


def test_labels_that_do_not_fit(gan):
    codes = torch.zeros(2, gan.model.latent_dim)
    for labels, message in (([3], "expected 2 integer labels"), ([3, 10], "0 to 9"), ([0.5, 1.0], "integer labels")):
        with pytest.raises(ValueError, match=message):
            gan.decode(codes, labels)
    with pytest.raises(ValueError, match="needs the labels"):
        gan.decode(codes)


def test_what_the_model_cannot_do(vae, gan):
    with pytest.raises(lg.UserError, match="has no encoder"):
        gan.encode(gan.data.test.images[:2])
    with pytest.raises(lg.UserError, match="truncation works with GANs"):
        vae.sample(2, truncation=0.5)
    with pytest.raises(lg.UserError, match="only a model that was trained with conditional=true does"):
        vae.sample(2, label=1)
    with pytest.raises(lg.UserError, match="count=0: draw 1 or more images"):
        vae.sample(0)
