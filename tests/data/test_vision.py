"""torchvision's data sets: their files, made up in their own formats, their download, and what is missing."""

import functools
import gzip
import hashlib
import http.server
import os
import pickle
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources import vision
from lightning_gen.data.sources.folder import image_folder
from lightning_gen.errors import UserError

RNG = np.random.default_rng(0)


def idx(array):
    """An array of uint8 in the format of MNIST's files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, prefix, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))


@pytest.fixture
def decoding(tmp_path):
    return Decoding(cache_dir=tmp_path / "cache")


@pytest.fixture
def any_checksum(monkeypatch):
    """Made-up files do not have the checksums of the real ones."""

    def exists(path, md5=None):
        return os.path.isfile(path)

    for module in (datasets.cifar, datasets.svhn, datasets.stl10):
        monkeypatch.setattr(module, "check_integrity", exists)
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_idx_files(tmp_path, decoding, name, folder):
    images, labels = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8), np.arange(12, dtype=np.uint8) % 10
    write_idx(tmp_path / folder / "raw", "train", images[:10], labels[:10])
    write_idx(tmp_path / folder / "raw", "t10k", images[10:], labels[10:])
    splits = getattr(vision, name)(decoding, str(tmp_path))
    assert torch.equal(splits.train.images[:, 0], torch.tensor(images[:10]))
    assert torch.equal(splits.test.images[:, 0], torch.tensor(images[10:]))
    assert splits.train.labels.tolist() == list(range(10))
    assert len(splits.train.classes) == 10


def test_emnist_is_put_upright_and_its_letters_count_from_zero(tmp_path, decoding):
    images, labels = RNG.integers(0, 256, (26, 28, 28), dtype=np.uint8), np.arange(1, 27, dtype=np.uint8)
    for part in ("train", "test"):
        write_idx(tmp_path / "EMNIST" / "raw", f"emnist-letters-{part}", images, labels)
    data = vision.emnist(decoding, str(tmp_path), part="letters").train
    assert torch.equal(data.images[3, 0], torch.tensor(images[3].T.copy()))
    assert data.classes[data.labels[3]] == "d"
    assert len(data.classes) == 26


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar(tmp_path, decoding, any_checksum, name, count):
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    pixels = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    for file, _ in kind.train_list + kind.test_list:
        content = {"data": pixels.reshape(4, -1), "labels": [0, 1, 2, 3], "fine_labels": [0, 1, 2, 3]}
        (folder / file).write_bytes(pickle.dumps(content))
    names = [f"class {i}" for i in range(count)]
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: names}))
    splits = getattr(vision, name)(decoding, str(tmp_path))
    assert torch.equal(splits.test.images, torch.tensor(pixels))
    assert len(splits.train) == 4 * len(kind.train_list)
    assert splits.train.labels[:4].tolist() == [0, 1, 2, 3]
    assert splits.train.classes == tuple(names)


def test_svhn(tmp_path, decoding, any_checksum):
    from scipy.io import savemat

    pixels = RNG.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    (tmp_path / "svhn").mkdir()
    for part in ("train", "test"):
        savemat(tmp_path / "svhn" / f"{part}_32x32.mat", {"X": pixels, "y": np.array([[1], [2], [9], [10]])})
    data = vision.svhn(decoding, str(tmp_path)).train
    assert torch.equal(data.images, torch.tensor(pixels).permute(3, 2, 0, 1))
    assert data.labels.tolist() == [1, 2, 9, 0]  # the files call the digit 0 ten


@pytest.mark.parametrize(("part", "count", "labelled"), [("train", 2, True), ("unlabeled", 3, False)])
def test_stl10(tmp_path, decoding, any_checksum, part, count, labelled):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = {name: RNG.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8) for name, n in SIZES.items()}
    for name, array in pixels.items():
        (folder / f"{name}_X.bin").write_bytes(array.tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes(range(1, len(array) + 1)))
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\n")
    splits = vision.stl10(decoding, str(tmp_path), part=part)
    assert torch.equal(splits.train.images, torch.tensor(pixels[part]).mT)  # stored column by column
    assert (len(splits.train), len(splits.test)) == (count, 1)
    assert (splits.train.labels is not None) == labelled
    if labelled:
        assert splits.train.labels.tolist() == [0, 1]
        assert splits.train.classes == ("airplane", "bird", "car")


SIZES = {"train": 2, "unlabeled": 3, "test": 1}


def test_celeba_is_decoded_once_in_its_official_splits(tmp_path, any_checksum):
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    for i, name in enumerate(names):
        Image.new("RGB", (178, 218), (40 * i,) * 3).save(folder / "img_align_celeba" / name)
    parts = [0, 0, 0, 1, 2, 2]
    (folder / "list_eval_partition.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, parts, strict=True)))
    rows = "".join(f"{name} {1 if i % 2 else -1} -1\n" for i, name in enumerate(names))
    (folder / "list_attr_celeba.txt").write_text(f"6\nSmiling Young\n{rows}")
    for name in ("identity_CelebA.txt",):
        (folder / name).write_text("".join(f"{name} 1\n" for name in names))
    for name in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (folder / name).write_text("6\na b\n" + "".join(f"{name} 1 1\n" for name in names))
    decoding = Decoding(size=64, crop=148, cache_dir=tmp_path / "cache")
    splits = vision.celeba(decoding, str(tmp_path), attribute="Smiling")
    assert splits.train.image_shape == (3, 64, 64)
    grey = [data.images.float().mean(dim=(1, 2, 3)).round().tolist() for data in (splits.train, splits.test)]
    assert grey == [[0, 40, 80], [160, 200]]
    assert splits.train.labels.tolist() == [0, 1, 0]
    assert splits.train.classes == ("not Smiling", "Smiling")
    with pytest.raises(UserError, match=r"dataset\.attribute=Smile .*Did you mean 'Smiling'"):
        vision.celeba(decoding, str(tmp_path), attribute="Smile")


def test_a_damaged_file_is_named(tmp_path, decoding):
    images, labels = np.zeros((10, 28, 28), dtype=np.uint8), np.zeros(10, dtype=np.uint8)
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / "MNIST" / "raw", prefix, images, labels)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"MNIST in {path.parent} cannot be read"):
        vision.mnist(decoding, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "where"),
    [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py"), ("svhn", "svhn"), ("stl10", "stl10_binary")],
)
def test_without_a_network_the_message_says_where_the_files_belong(tmp_path, decoding, monkeypatch, name, where):
    def no_network(*_, **__):
        raise OSError("Network is unreachable")

    for module in ("mnist", "cifar", "svhn", "stl10"):
        for function in ("download_and_extract_archive", "download_url"):
            monkeypatch.setattr(getattr(datasets, module), function, no_network, raising=False)
    with pytest.raises(
        UserError, match=rf"are not \(all\) in {tmp_path}/{where} and could not be downloaded.*dataset\.root"
    ):
        getattr(vision, name)(decoding, str(tmp_path))


@pytest.fixture
def server(tmp_path):
    """A folder that is served on the loopback address, and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve_gzipped(raw, folder):
    """What torchvision knows of its files, for the same files compressed again, with another md5."""
    resources = []
    for file in sorted(raw.glob("*ubyte")):
        data = gzip.compress(file.read_bytes(), compresslevel=1)
        (folder / f"{file.name}.gz").write_bytes(data)
        resources.append((f"{file.name}.gz", hashlib.md5(data).hexdigest()))
    return resources


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_files(data_root, decoding, name):
    splits = getattr(vision, name)(decoding, str(data_root))
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    assert splits.train.image_shape == (1, 28, 28)
    assert splits.test.labels.bincount().tolist() == TEST_CLASSES[name]


TEST_CLASSES = {"mnist": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], "fashion_mnist": [1000] * 10}


@pytest.mark.data
def test_the_real_folder_of_jpegs(data_root, decoding):
    root = Path(data_root) / "cifar10_jpeg"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    splits = image_folder(decoding, str(root / "test"))
    assert splits.train.image_shape == (3, 32, 32)
    assert len(splits.train) + len(splits.test) == 10_000
    assert len(splits.train.classes) == 10


@pytest.mark.data
def test_mnist_is_downloaded_checked_and_unpacked(tmp_path, data_root, decoding, server, monkeypatch):
    raw = Path(data_root) / "MNIST" / "raw"
    folder, url = server
    monkeypatch.setattr(datasets.MNIST, "mirrors", [url])
    monkeypatch.setattr(datasets.MNIST, "resources", serve_gzipped(raw, folder))
    splits = vision.mnist(decoding, str(tmp_path / "fresh"))
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    for file in raw.glob("*ubyte"):
        assert (tmp_path / "fresh" / "MNIST" / "raw" / file.name).read_bytes() == file.read_bytes()
    (folder / "train-images-idx3-ubyte.gz").unlink()  # now it is there, nothing is asked of the server
    assert len(vision.mnist(decoding, str(tmp_path / "fresh")).train) == 60_000


def test_a_download_that_was_tampered_with_is_refused(tmp_path, decoding, server, monkeypatch):
    folder, url = server
    images, labels = np.zeros((4, 28, 28), dtype=np.uint8), np.zeros(4, dtype=np.uint8)
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / "raw", prefix, images, labels)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [url])
    monkeypatch.setattr(datasets.MNIST, "resources", serve_gzipped(tmp_path / "raw", folder))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(UserError, match="could not be downloaded"):
        vision.mnist(decoding, str(tmp_path / "fresh"))
