"""The part of MNIST that comes with the package is the one that it says, and is made from the original files."""

import json
import time

import numpy as np
import pytest
import torch
from torchvision import datasets

from lightning_gen.data import make_mnist_small
from lightning_gen.data.sources import mnist_small as module
from lightning_gen.data.sources.mnist_small import mnist_small, pack, unpack
from lightning_gen.errors import UserError


def test_the_content_is_the_recorded_one():
    splits = mnist_small()
    for split, count in ((splits.train, 10_000), (splits.test, 2_000)):
        assert split.images.shape == (count, 1, 28, 28)
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        assert split.classes == tuple("0123456789")
    images, labels = (
        torch.cat([getattr(s, name) for s in (splits.train, splits.test)]) for name in ("images", "labels")
    )
    record = json.loads((module.FOLDER / "mnist_small.json").read_text())
    found = make_mnist_small.content_sha256(images.numpy(), labels.numpy().astype(np.uint8))
    assert found == record["content_sha256"] == "297084f8ec55cce76679463f4a893005e2e397ee23ddbc1ee5c347cb3ada4576"
    assert record["sources"] == make_mnist_small.SOURCES


def test_they_are_images_of_both_official_splits_in_their_order(data_root):
    for split, train in zip((mnist_small().train, mnist_small().test), (True, False), strict=True):
        official = datasets.MNIST(data_root, train=train)
        chosen = slice(10_000) if train else slice(None, None, 5)
        assert torch.equal(split.images[:, 0], official.data[chosen])
        assert torch.equal(split.labels, official.targets[chosen])


def test_it_is_small_and_read_quickly():
    assert (module.FOLDER / "mnist_small.npz").stat().st_size < 2_000_000
    start = time.process_time()
    mnist_small()
    assert time.process_time() - start < 0.5


def test_packing_loses_nothing():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 1, 28, 28), dtype=np.uint8) * rng.integers(0, 2, (7, 1, 28, 28), dtype=np.uint8)
    labels = np.arange(7, dtype=np.uint8)
    again = unpack(pack(images, labels))
    assert np.array_equal(again[0], images)
    assert np.array_equal(again[1], labels)


def test_making_it_again_gives_the_same_content(data_root, tmp_path):
    record = make_mnist_small.make(data_root, tmp_path)
    assert record["content_sha256"] == json.loads((module.FOLDER / "mnist_small.json").read_text())["content_sha256"]


def test_other_files_than_the_original_ones_are_refused(tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte has the SHA-256 .* not the original file"):
        make_mnist_small.make(tmp_path, tmp_path)


@pytest.mark.parametrize("content", [b"damaged", None])
def test_a_damaged_package_is_told(tmp_path, monkeypatch, content):
    (tmp_path / "mnist_small.json").write_text((module.FOLDER / "mnist_small.json").read_text())
    if content is not None:
        (tmp_path / "mnist_small.npz").write_bytes(content)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="install lightning_gen again, or use dataset=digits"):
        mnist_small()
