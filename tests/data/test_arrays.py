"""Files of arrays: what is read, and each way in which they can be wrong."""

import numpy as np
import pytest
import torch

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.arrays import arrays
from lightning_gen.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 6, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(20) % 3
SKIP = Decoding(on_bad_image="skip")


def whole(splits):
    """All images and labels, training and held out, sorted by content."""
    images = torch.cat([splits.train.images, splits.test.images])
    return images[images.flatten(1).double().mul(torch.arange(images[0].numel()).double()).sum(1).argsort()]


def save(path, **parts):
    if path.suffix == ".npz":
        np.savez(path, **parts)
    elif path.suffix == ".npy":
        np.save(path, parts["images"])
    else:
        torch.save({name: torch.as_tensor(part) for name, part in parts.items()}, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt"])
@pytest.mark.parametrize("kind", ["grey", "colour", "float"])
def test_the_same_images_come_out_of_every_kind_of_file(tmp_path, suffix, kind):
    stored = {"grey": GREY, "colour": COLOUR, "float": (GREY / 255).astype(np.float32)}[kind]
    splits = arrays(Decoding(), save(tmp_path / f"a{suffix}", images=stored))
    expected = torch.tensor(COLOUR).permute(0, 3, 1, 2) if kind == "colour" else torch.tensor(GREY)[:, None]
    assert (len(splits.train), len(splits.test)) == (18, 2)
    assert splits.train.labels is None
    same = type(splits)(type(splits.train)(expected[:18]), type(splits.train)(expected[18:]))
    assert torch.equal(whole(splits), whole(same))


def test_labels_stay_with_their_images(tmp_path):
    splits = arrays(Decoding(), save(tmp_path / "a.npz", images=GREY, labels=LABELS))
    for part in (splits.train, splits.test):
        for image, label in zip(part.images, part.labels, strict=True):
            row = next(i for i in range(20) if np.array_equal(GREY[i], image[0].numpy()))
            assert label == LABELS[row]
    assert splits.train.classes == ("0", "1", "2")


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_image_has_one_label(tmp_path, shape):
    parts = {"images": GREY, "labels": LABELS.reshape(shape), "test_images": GREY[:1]}
    splits = arrays(Decoding(), save(tmp_path / "a.npz", **parts, test_labels=LABELS[:1].reshape(shape)))
    assert splits.test.labels.tolist() == LABELS[:1].tolist()


def test_the_files_own_test_images_are_held_out(tmp_path):
    path = save(tmp_path / "a.npz", x_train=GREY[:15], y_train=LABELS[:15], x_test=GREY[15:], y_test=LABELS[15:])
    splits = arrays(Decoding(), path)
    assert torch.equal(splits.train.images[:, 0], torch.tensor(GREY[:15]))
    assert torch.equal(splits.test.images[:, 0], torch.tensor(GREY[15:]))
    assert splits.test.labels.tolist() == LABELS[15:].tolist()


@pytest.mark.parametrize(("images", "mapped"), [(GREY, True), (COLOUR, False), (GREY / 255, False)])
def test_with_a_test_file_an_array_of_uint8_stays_on_disk(tmp_path, images, mapped):
    path, test = save(tmp_path / "a.npy", images=images), save(tmp_path / "b.npy", images=images[:5])
    splits = arrays(Decoding(), path, test_path=test)
    assert (len(splits.train), len(splits.test)) == (20, 5)
    assert splits.train.mapped == mapped
    before = (tmp_path / "a.npy").read_bytes()
    splits.train.images.zero_()  # even then the file stays as it is
    assert (tmp_path / "a.npy").read_bytes() == before


def test_a_range_of_ones_own(tmp_path):
    path = save(tmp_path / "a.npz", images=(GREY / 127.5 - 1).astype(np.float32))
    splits = arrays(Decoding(), path, value_range=(-1, 1))
    expected = arrays(Decoding(), save(tmp_path / "b.npz", images=GREY))
    assert torch.equal(splits.train.images, expected.train.images)


def test_images_of_zeros_and_ones_are_not_taken_for_black(tmp_path):
    binary = (GREY > 100).astype(np.uint8)
    path = save(tmp_path / "a.npz", images=binary)
    with pytest.raises(UserError, match=r"values 0 and 1 only.*dataset\.value_range=\[0,1\]"):
        arrays(Decoding(), path)
    assert arrays(Decoding(), path, value_range=(0, 1)).train.images.unique().tolist() == [0, 255]
    assert arrays(Decoding(), path, value_range=(0, 255)).train.images.unique().tolist() == [0, 1]


def nan_at(row):
    images = (GREY / 255).astype(np.float32)
    images[row, 2, 2] = np.nan
    return images


BAD = {
    "no such file": (None, {}, r"does not exist \(looked in .*a\.npz\)"),
    "no images": ({"weights": GREY}, {}, r"has no images: name the array `images`"),
    "wrong type": ({"images": GREY.astype(np.int64)}, {}, r"a\.npz: the images are int64; save them as uint8"),
    "text": ({"images": np.array(["a", "b"])}, {}, r"the images are <U1"),
    "NaN": ({"images": nan_at(7)}, {}, r"1 of 20 images in .*a\.npz.*image 7 \(NaN or infinite\).*on_bad_image=skip"),
    "range": ({"images": GREY.astype(np.float32)}, {}, r"20 of 20.*outside \[0, 1\]; dataset\.value_range"),
    "labels too short": ({"images": GREY, "labels": LABELS[:19]}, {}, r"20 images, but labels of shape \[19\]"),
    "labels not whole": (
        {"images": GREY, "labels": LABELS / 2},
        {},
        r"labels must be integers from 0 to 99,999, not float64",
    ),
    "two channels": ({"images": GREY[..., None].repeat(2, 3)}, {}, r"shape \[20, 6, 6, 2\]"),
    "ambiguous": ({"images": GREY[:, None, :, :3]}, {}, r"dataset\.layout=NCHW or NHWC"),
    "wrong layout": ({"images": GREY}, {"layout": "NCHW"}, r"dataset\.layout=NCHW does not fit"),
    "empty": ({"images": GREY[:0]}, {}, r"holds no image"),
    "one image": ({"images": GREY[:1]}, {}, r"test_fraction=.* leaves nothing to train on"),
    "fraction": ({"images": GREY}, {"test_fraction": 1.0}, r"dataset\.test_fraction=1\.0"),
    "empty range": ({"images": GREY}, {"value_range": (1, 0)}, r"dataset\.value_range"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(tmp_path, name):
    parts, options, message = BAD[name]
    path = tmp_path / "a.npz"
    if parts is not None:
        save(path, **parts)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UserError, match=message):
        arrays(Decoding(), str(path), **options)
    assert before == (path.read_bytes() if path.exists() else None)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save(path, images=GREY)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=rf"a\{suffix} cannot be read"):
        arrays(Decoding(), str(path))


def test_another_kind_of_file(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(UserError, match=r"\.npz, \.npy or \.pt"):
        arrays(Decoding(), str(tmp_path / "a.csv"))
    with pytest.raises(UserError, match=r"dataset\.path=FILE"):
        arrays(Decoding(), None)


def test_bad_images_can_be_left_out(tmp_path, capsys):
    splits = arrays(SKIP, save(tmp_path / "a.npz", images=nan_at(7), labels=LABELS))
    assert len(splits.train) + len(splits.test) == 19
    assert "warning: left out 1 of 20 images" in capsys.readouterr().err


def test_every_type_and_byte_order_gives_the_same_images_or_is_named(tmp_path):
    black_white = np.where(GREY > 127, 255, 0)
    for number, kind in enumerate(("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g", "u1", "?")):
        images = GREY if kind == "u1" else GREY > 127 if kind == "?" else (GREY / 255).astype(kind)
        splits = arrays(Decoding(), save(tmp_path / f"{number}.npz", images=images, test_images=images))
        expected = black_white if kind == "?" else GREY
        assert np.abs(splits.train.images[:, 0].numpy().astype(int) - expected).max() <= 1
    for number, kind in enumerate(("i1", "<i2", ">u2", "<i8", ">u8", "c8", "U3", "S3", "M8[s]", "V2")):
        images = np.zeros(GREY.shape, kind)
        with pytest.raises(UserError, match="save them as uint8"):
            arrays(Decoding(), save(tmp_path / f"bad {number}.npz", images=images))


def test_labels_of_every_type_of_integer(tmp_path):
    for number, kind in enumerate(("i1", "u1", "<i2", ">u2", "<u4", ">i4", "<i8", ">i8", "<u8", ">u8")):
        parts = {"images": GREY, "labels": LABELS.astype(kind), "test_images": GREY}
        assert arrays(Decoding(), save(tmp_path / f"{number}.npz", **parts)).train.labels.tolist() == LABELS.tolist()
    for number, labels in enumerate((LABELS - 1, LABELS + 2**40, LABELS.astype("U3"), LABELS.astype("f4") * np.nan)):
        with pytest.raises(UserError, match="labels must be integers from 0"):
            arrays(Decoding(), save(tmp_path / f"bad {number}.npz", images=GREY, labels=labels))


def test_a_compressed_file_that_does_not_fit_into_memory_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.npz", images=GREY)
    monkeypatch.setattr("lightning_gen.data.sources.arrays.free_host_memory", lambda: 100)
    with pytest.raises(UserError, match=r"a\.npz unpacks to 0\.0 GB"):
        arrays(Decoding(), path)
