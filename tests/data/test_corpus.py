"""Damaged and strange files, made by make_corpus.py: each is used, or named in one line and refused or left out."""

import os

import numpy as np
import pytest

from lightning_gen.data import image_files
from lightning_gen.data.decode import BadImage, Entry, Shape, decode, look
from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.folder import image_folder
from lightning_gen.errors import UserError
from tests.data import make_corpus

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
DAMAGED, STRANGE = make_corpus.damaged(), make_corpus.strange()


@pytest.fixture
def decoding(tmp_path):
    return lambda **options: Decoding(cache_dir=tmp_path / "cache", **options)


def good(root, count=10):
    root.mkdir()
    for number in range(count):
        (root / f"good {number}.png").write_bytes(make_corpus.encoded())
    return root


def used(splits):
    return len(splits.train) + len(splits.test)


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("shape", [{}, {"size": 8, "channels": 3}])  # looks at the header first, or does not
def test_a_damaged_image_is_named_and_refused_or_left_out(tmp_path, decoding, name, shape, capsys):
    root = good(tmp_path / "a")
    (root / name).write_bytes(DAMAGED[name])
    with pytest.raises(UserError, match=rf"^1 of 11 images in .* cannot be used: {name} \([^\n]+\)\. [^\n]*$"):
        image_folder(decoding(**shape), str(root))
    assert used(image_folder(decoding(on_bad_image="skip", **shape), str(root))) == 10
    assert capsys.readouterr().err.count(name) == 1


def test_links_pipes_and_devices_are_no_images(tmp_path, decoding, capsys):
    root = good(tmp_path / "a")
    make_corpus.no_files(root)
    with pytest.raises(UserError, match=r"^4 of 14 images in .* \(No such file or directory\)"):
        image_folder(decoding(), str(root))
    assert used(image_folder(decoding(on_bad_image="skip"), str(root))) == 10
    with pytest.raises(UserError, match="neither a folder nor a file"):
        image_folder(decoding(), str(root / "pipe.png"))


def test_every_depth_format_name_and_metadata_tag_is_an_image(tmp_path, decoding):
    root = tmp_path / "a"
    root.mkdir()
    for raw, data in STRANGE.items():
        (root / os.fsdecode(raw)).write_bytes(data)
    assert used(image_folder(decoding(size=8, channels=3), str(root))) == len(STRANGE)


def test_class_folders_whose_names_are_no_utf_8_can_be_shown(tmp_path, decoding):
    (tmp_path / "a").mkdir()
    for name in (b"caf\xe9", b"tea"):
        good(tmp_path / "a" / os.fsdecode(name))
    classes = image_folder(decoding(), str(tmp_path / "a")).train.classes
    assert classes == ("caf\N{REPLACEMENT CHARACTER}", "tea")
    "".join(classes).encode()


def test_an_image_with_changed_bytes_is_decoded_or_named():
    decoded, reasons = 0, []
    for data in make_corpus.mutants(350):
        try:
            assert isinstance(look(Entry("a", data=data)), Shape)
            pixels = decode(Entry("a", data=data), 3, None, 8)
            assert pixels.shape == (3, 8, 8)
            assert pixels.dtype == np.uint8
            decoded += 1
        except BadImage as error:
            reasons.append(str(error))
    assert min(decoded, len(reasons)) > 30
    assert all(reason and "\n" not in reason for reason in reasons)


@pytest.mark.parametrize("name", make_corpus.ZIPS)
def test_a_member_of_a_zip_that_cannot_be_read_is_named(tmp_path, decoding, name):
    path = tmp_path / "a.zip"
    path.write_bytes(make_corpus.zipped(make_corpus.ZIPS[name]))
    with pytest.raises(UserError, match=r"^1 of 12 images in .* cannot be used: 00\.png \([^\n]+\)\.[^\n]*$"):
        image_folder(decoding(), str(path))
    assert used(image_folder(decoding(on_bad_image="skip"), str(path))) == 11


def test_an_archive_that_unpacks_to_too_much_leaves_nothing_in_the_cache(tmp_path, decoding, monkeypatch):
    monkeypatch.setattr(image_files, "ALWAYS_UNPACKED", 10**6)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(make_corpus.bomb(10**7))
    assert path.stat().st_size < 10**5
    with pytest.raises(UserError, match=r"a\.tar\.gz unpacks to more than 0\.0 GB"):
        image_folder(decoding(), str(path))
    assert not list((tmp_path / "cache" / "decoded" / "unpacked").iterdir())
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"of 1 in all"):
        image_folder(decoding(), str(path))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"entries": 3}'])
@pytest.mark.parametrize("name", ["meta.json", "stamps"])
def test_a_damaged_cache_is_named_or_made_again(tmp_path, decoding, name, content):
    root = good(tmp_path / "a")
    image_folder(decoding(), str(root))
    for file in (tmp_path / "cache" / "decoded").rglob("*"):
        if file.is_file() and name in file.parts[-2:]:
            file.write_bytes(content)
    if name == "stamps":
        assert used(image_folder(decoding(), str(root))) == 10
    else:
        with pytest.raises(UserError, match=r"^The cache .* is damaged: delete it"):
            image_folder(decoding(), str(root))
