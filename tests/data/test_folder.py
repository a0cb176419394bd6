"""Trees of image files: what is found in them, how it is decoded, and each way in which it can be wrong."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.folder import image_folder
from lightning_gen.errors import UserError


def picture(number, size=(8, 8), mode="RGB"):
    """An image that says its number: every pixel holds it."""
    return Image.new(mode, size, number if mode in ("L", "I;16") else (number,) * len(mode))


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def tree(root, count=20, folders=("cat", "dog"), **options):
    for i in range(count):
        write(root / folders[i % len(folders)] / f"{i:02d}.png", picture(i, **options))
    return root


@pytest.fixture
def decoding(tmp_path):
    return lambda **options: Decoding(cache_dir=tmp_path / "cache", **options)


def numbers(data):
    """The number that each image says."""
    assert (data.images.flatten(1) == data.images.flatten(1)[:, :1]).all()
    return data.images[:, 0, 0, 0].tolist()


def test_class_folders_are_classes_and_a_tenth_is_held_out(tmp_path, decoding):
    splits = image_folder(decoding(), str(tree(tmp_path / "a")))
    assert (len(splits.train), len(splits.test)) == (18, 2)
    assert sorted(numbers(splits.train) + numbers(splits.test)) == list(range(20))
    assert splits.train.classes == ("cat", "dog")
    assert [number % 2 for number in numbers(splits.train)] == splits.train.labels.tolist()
    assert [number % 2 for number in numbers(splits.test)] == splits.test.labels.tolist()
    again = image_folder(decoding(), str(tmp_path / "a"))
    assert numbers(again.test) == numbers(splits.test)


def test_folders_train_and_test_are_the_splits(tmp_path, decoding):
    tree(tmp_path / "a" / "train", 6)
    tree(tmp_path / "a" / "val", 4)
    splits = image_folder(decoding(), str(tmp_path / "a"))
    assert sorted(numbers(splits.train)) == list(range(6))
    assert sorted(numbers(splits.test)) == list(range(4))
    assert splits.test.classes == ("cat", "dog")


def test_a_training_folder_alone_is_split_and_is_no_class(tmp_path, decoding, capsys):
    tree(tmp_path / "a" / "train", 20)
    splits = image_folder(decoding(), str(tmp_path / "a"))
    assert (len(splits.train), len(splits.test)) == (18, 2)
    assert splits.train.classes == ("cat", "dog")
    assert capsys.readouterr().err == ""


def test_images_beside_the_splits_are_told(tmp_path, decoding, capsys):
    for part, count in (("train", 6), ("val", 4), ("test", 2)):
        tree(tmp_path / "a" / part, count)
    splits = image_folder(decoding(), str(tmp_path / "a"))
    assert (len(splits.train), len(splits.test)) == (6, 2)
    assert "test/ is the test split; the 4 images of other folders are not used" in capsys.readouterr().err


@pytest.mark.parametrize("packed", [False, True])
def test_a_dataset_json_gives_the_labels(tmp_path, decoding, packed):
    folder = tree(tmp_path / "a", 6)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    (folder / "dataset.json").write_text(json.dumps({"labels": [[name, 5 - i] for i, name in enumerate(names)]}))
    root = shutil.make_archive(str(tmp_path / "a"), "zip", folder) if packed else str(folder)
    splits = image_folder(decoding(), root)
    assert sorted(splits.train.labels.tolist() + splits.test.labels.tolist()) == list(range(6))
    assert splits.train.classes == ("0", "1", "2", "3", "4", "5")


def test_a_dataset_json_without_labels_means_none(tmp_path, decoding):
    folder = tree(tmp_path / "a", 6)
    (folder / "dataset.json").write_text('{"labels": null}')
    assert image_folder(decoding(), str(folder)).train.labels is None


@pytest.mark.parametrize(("text", "told"), [("[", "repair it"), ('{"labels": [["x.png", 1]]}', "has no label for")])
def test_a_dataset_json_that_cannot_be_used_is_told(tmp_path, decoding, text, told):
    folder = tree(tmp_path / "a", 6)
    (folder / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=told):
        image_folder(decoding(), str(folder))


def test_without_class_folders_there_are_no_labels(tmp_path, decoding):
    tree(tmp_path / "a", 6)
    write(tmp_path / "a" / "top.png", picture(9))
    splits = image_folder(decoding(), str(tmp_path / "a"))
    assert splits.train.labels is None
    assert len(splits.train) + len(splits.test) == 7


def pack(root, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*.png")):
                archive.write(file, Path("top") / file.relative_to(root))
    else:
        mode = {".tar": "w", ".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[path.suffix]
        with tarfile.open(path, mode) as archive:
            archive.add(root, "top")
    return str(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_an_archive_is_the_folder_in_it(tmp_path, decoding, name):
    expected = image_folder(decoding(), str(tree(tmp_path / "a")))
    splits = image_folder(decoding(), pack(tmp_path / "a", tmp_path / name))
    for a, b in ((splits.train, expected.train), (splits.test, expected.test)):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
    assert splits.train.classes == expected.train.classes


def test_hidden_and_other_files_are_no_images(tmp_path, decoding):
    root = tree(tmp_path / "a", 6)
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / "._00.png").write_text("what macOS leaves behind")
    (root / "loop").symlink_to(root)
    assert len(image_folder(decoding(), str(root)).train) == 5


def test_any_sizes_and_channels_become_one(tmp_path, decoding):
    root = tmp_path / "a"
    write(root / "grey.png", picture(10, (20, 30), "L"))
    write(root / "colour.png", picture(20, (50, 17)))
    write(root / "alpha.png", picture(30, (16, 16), "RGBA"))
    write(root / "deep.png", picture(40 * 257, (18, 16), "I;16"))
    write(root / "palette.gif", picture(51, (16, 40)).convert("P"))
    for channels in (1, 3):
        splits = image_folder(decoding(size=16, channels=channels), str(root))
        assert splits.train.image_shape == (channels, 16, 16)
        assert sorted(numbers(splits.train) + numbers(splits.test)) == [
            10,
            20,
            30,
            40,
            51,
        ]  # 51 is in the web palette


def test_the_crop_comes_before_the_size(tmp_path, decoding):
    pixels = np.zeros((12, 20), dtype=np.uint8)
    pixels[2:10, 6:14] = 200
    for i in range(2):
        write(tmp_path / "a" / f"{i}.png", Image.fromarray(pixels))
    assert (image_folder(decoding(crop=8, size=4), str(tmp_path / "a")).train.images == 200).all()
    assert image_folder(decoding(size=6), str(tmp_path / "a")).train.image_shape == (1, 6, 6)
    assert image_folder(decoding(), str(tmp_path / "a")).train.image_shape == (1, 12, 20)


def test_images_are_turned_upright(tmp_path, decoding):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    for i in range(2):
        (tmp_path / "a").mkdir(exist_ok=True)
        image.save(tmp_path / "a" / f"{i}.png", exif=exif)
    stored = image_folder(decoding(), str(tmp_path / "a")).train.images[0, 0]
    assert torch.equal(stored, torch.tensor(np.rot90(np.asarray(image), -1).copy()))


def truncated():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()[:-150]


def png(**options):
    buffer = io.BytesIO()
    picture(7, **options).save(buffer, "PNG")
    return buffer.getvalue()


BAD_IMAGES = {
    "truncated.jpg": (truncated(), {}, "truncated"),
    "zero.png": (b"", {}, "zero bytes"),
    "text.jpg": (b"this is no image", {}, "not an image in a known format"),
    "half.png": (png()[:40], {}, "bad.half.png"),
    "grey.png": (png(mode="L"), {}, "grey among colour images; dataset.channels=3"),
    "small.png": (png(size=(4, 8)), {"crop": 6}, "8x4, smaller than dataset.crop=6"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_named_and_refused_or_left_out(tmp_path, decoding, name, capsys):
    content, options, reason = BAD_IMAGES[name]
    root = tree(tmp_path / "a", 10)
    (root / "bad").mkdir()
    (root / "bad" / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"1 of 11 images .*bad/{name} \(.*on_bad_image=skip") as caught:
        image_folder(decoding(**options), str(root))
    assert reason.replace(".", "") in str(caught.value).replace(".", "").replace("/", "")
    splits = image_folder(decoding(**options, on_bad_image="skip"), str(root))
    assert sorted(numbers(splits.train) + numbers(splits.test)) == list(range(10))
    assert [number % 2 + 1 for number in numbers(splits.train)] == splits.train.labels.tolist()
    assert f"warning: left out 1 of 11 images in {root}" in capsys.readouterr().err
    assert (root / "bad" / name).read_bytes() == content


def test_many_bad_images_are_counted(tmp_path, decoding):
    root = tree(tmp_path / "a", 10)
    for i in range(5):
        (root / f"bad{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"5 of 15 images .* bad2\.png \(zero bytes\) and 2 more\."):
        image_folder(decoding(), str(root))


def test_a_tree_that_cannot_be_used_is_named(tmp_path, decoding):
    with pytest.raises(UserError, match=r"dataset\.root=DIR"):
        image_folder(decoding(), None)
    with pytest.raises(UserError, match=rf"{tmp_path}/no does not exist"):
        image_folder(decoding(), str(tmp_path / "no"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no image"):
        image_folder(decoding(), str(tmp_path / "empty"))
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(UserError, match=r"a\.zip is neither a folder nor a zip or tar"):
        image_folder(decoding(), str(tmp_path / "a.zip"))
    write(tmp_path / "sizes" / "a.png", picture(1, (8, 8)))
    write(tmp_path / "sizes" / "b.png", picture(1, (8, 9)))
    with pytest.raises(UserError, match=r"2 different sizes .*set dataset\.size"):
        image_folder(decoding(on_bad_image="skip"), str(tmp_path / "sizes"))
    with pytest.raises(UserError, match=r"dataset\.test_fraction=0"):
        image_folder(decoding(), str(tree(tmp_path / "t")), test_fraction=0)
    (tmp_path / "all" / "bad").mkdir(parents=True)
    (tmp_path / "all" / "bad" / "a.png").write_bytes(b"")
    (tmp_path / "all" / "bad" / "b.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"2 of 2 images .*No image is left"):
        image_folder(decoding(on_bad_image="skip"), str(tmp_path / "all"))


def test_a_truncated_archive_is_named(tmp_path, decoding):
    path = Path(pack(tree(tmp_path / "a"), tmp_path / "a.tar.gz"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.tar\.gz cannot be read"):
        image_folder(decoding(), str(path))
