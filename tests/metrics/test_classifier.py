"""The packaged classifiers and the ones trained on the spot."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from lightning_gen.metrics import classifier as module
from lightning_gen.metrics.classifier import (
    accuracy,
    cached_classifier,
    packaged_classifier,
    run_body,
    train_classifier,
)
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.features import hash_tensors
from lightning_gen.metrics.make_weights import load_split
from lightning_gen.pictures import to_float, to_uint8


def test_packaged_digits_classifier_is_as_accurate_as_its_record(digits):
    net = packaged_classifier("digits")
    record = json.loads((module.WEIGHTS / "digits.json").read_text())
    assert accuracy(net, *digits[1]) == pytest.approx(record["test_accuracy"], abs=0.003)
    assert record["test_accuracy"] >= 0.97
    assert net.weights_hash == record["weights_hash"]


@pytest.mark.data
@pytest.mark.parametrize(("dataset", "floor"), [("mnist", 0.992), ("fashion_mnist", 0.905)])
def test_packaged_accuracy(data_root, dataset, floor):
    images, labels = load_split(dataset, data_root, train=False)
    part = seeded_subset(len(images), 3000, seed=0)
    measured = accuracy(packaged_classifier(dataset), images[part], labels[part])
    record = json.loads((module.WEIGHTS / f"{dataset}.json").read_text())
    assert measured == pytest.approx(record["test_accuracy"], abs=0.006)
    assert record["test_accuracy"] >= floor


def test_weights_that_differ_from_their_record_are_refused(tmp_path, monkeypatch):
    shutil.copytree(module.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    file = tmp_path / "weights" / "digits.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"digits\.pt"):
        packaged_classifier("digits")
    assert packaged_classifier("no_such_set") is None


def test_one_of_several_processes_trains_and_the_others_wait(digits, tmp_path, monkeypatch):
    """Threads stand for processes: the lock is on an open file, of which each has its own."""
    images, labels = digits[0][0][:50], digits[0][1][:50]
    calls, state = [], module.fit_state(images, labels, module.Recipe(epochs=1, min_steps=0))
    monkeypatch.setattr(module, "fit_state", lambda *_, **__: calls.append(1) or time.sleep(0.2) or state)
    with ThreadPoolExecutor(4) as pool:
        nets = list(pool.map(lambda _: cached_classifier(images, labels, name="x", cache_dir=tmp_path), range(4)))
    assert len(calls) == 1
    assert len({net.weights_hash for net in nets}) == 1


def test_features_have_mean_squared_norm_d(digits):
    net = packaged_classifier("digits")
    features = net(to_float(digits[0][0]))
    assert features.shape == (1437, 64)
    assert features.dtype == torch.float32
    assert features.square().sum(1).mean().item() == pytest.approx(64, rel=1e-3)


def test_logits_from_features_equal_logits_from_images(digits):
    net = packaged_classifier("digits")
    images = to_float(digits[1][0][:50])
    assert torch.equal(net.logits(images), net.logits_from_features(net(images)))


def test_an_extractor_stays_frozen_inside_a_model_that_trains(digits):
    net = packaged_classifier("digits")
    model = nn.Module()
    model.net = net
    model.train()
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_autocast_does_not_reach_the_features(digits):
    net = packaged_classifier("digits")
    images = to_float(digits[1][0][:20])
    with torch.autocast("cpu", torch.bfloat16):
        inside = net(images)
    assert torch.equal(inside, net(images))


def test_channels_and_sizes_are_adapted(digits):
    net = packaged_classifier("digits")
    grey = to_float(digits[1][0][:5])
    torch.testing.assert_close(net(grey.expand(-1, 3, -1, -1)), net(grey), rtol=1e-4, atol=1e-4)
    assert net(torch.rand(2, 3, 64, 48)).shape == (2, 64)
    with pytest.raises(ValueError, match="2 channels"):
        net(torch.rand(2, 2, 8, 8))
    with pytest.raises(ValueError, match="float images"):
        net(digits[0][0][:2])


def test_training_repeats_itself_and_leaves_the_global_generator(digits):
    images, labels = digits[0]
    torch.manual_seed(7)
    before = torch.get_rng_state()
    a = train_classifier(images[:256], labels[:256], seed=3, epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    b = train_classifier(images[:256], labels[:256], seed=3, epochs=2)
    c = train_classifier(images[:256], labels[:256], seed=4, epochs=2)
    assert a.weights_hash == b.weights_hash != c.weights_hash


def test_training_learns_digits(digits):
    images, labels = digits[0]
    net = train_classifier(images[:700], labels[:700], seed=1, epochs=6)
    assert accuracy(net, *digits[1]) > 0.85


def test_a_cached_classifier_is_trained_once(digits, tmp_path, monkeypatch):
    images, labels = digits[0][0][:64], digits[0][1][:64]
    monkeypatch.setattr(module, "Recipe", lambda seed=0: module_recipe(seed))
    first = cached_classifier(images, labels, name="my set/1", cache_dir=tmp_path)
    (file,) = tmp_path.glob("*.pt")
    monkeypatch.setattr(module, "fit_state", lambda *_, **__: pytest.fail("trained twice"))
    again = cached_classifier(images, labels, name="my set/1", cache_dir=tmp_path)
    assert (again.name, again.weights_hash) == (first.name, first.weights_hash)
    assert file.name.startswith("classifier-my_set_1-")
    with pytest.raises(pytest.fail.Exception):  # other data: another file
        cached_classifier(images[1:], labels[1:], name="my set/1", cache_dir=tmp_path)


@pytest.mark.parametrize("content", [b"", b"cut", bytes(range(256))])
def test_a_damaged_classifier_is_trained_again_and_that_is_announced(digits, tmp_path, monkeypatch, capsys, content):
    images, labels = digits[0][0][:64], digits[0][1][:64]
    monkeypatch.setattr(module, "Recipe", lambda seed=0: module_recipe(seed))
    first = cached_classifier(images, labels, name="x", cache_dir=tmp_path)
    assert capsys.readouterr().err == ""  # this takes less than two seconds
    (file,) = tmp_path.glob("*.pt")
    file.write_bytes(content)
    assert cached_classifier(images, labels, name="x", cache_dir=tmp_path).weights_hash == first.weights_hash
    assert f"{file.name} is damaged: the classifier is trained again" in capsys.readouterr().err


def module_recipe(seed):
    return original_recipe(seed=seed, epochs=1, min_steps=0)


original_recipe = module.Recipe


def test_hash_sees_every_byte():
    a = {"w": torch.zeros(3), "b": torch.ones(2)}
    assert hash_tensors(a) == hash_tensors(dict(reversed(a.items())))
    assert hash_tensors(a) != hash_tensors({**a, "w": torch.tensor([0.0, 0.0, 1e-30])})
    assert len(hash_tensors(a)) == 12


def test_to_uint8_rounds_clamps_and_survives_nan():
    values = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0, float("nan"), float("inf")])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255, 0, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_the_fast_pooling_gives_the_bits_of_the_network(digits):
    net = packaged_classifier("digits")
    images = net.prepare(to_float(digits[1][0])) * 2 - 1
    assert torch.equal(run_body(net.body, images), net.body(images))
