"""The cache of decoded images: built once, whole or not at all, shared, and never stale."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from lightning_gen.data import decoded
from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.folder import image_folder
from lightning_gen.errors import UserError
from tests.data.test_folder import numbers, picture, tree, write


def folders(cache):
    return sorted(path.name for path in (cache / "decoded").iterdir() if path.name not in ("stamps", "unpacked"))


@pytest.fixture
def builds(monkeypatch):
    """How often a cache was built."""
    calls = []
    original = decoded._build
    monkeypatch.setattr(decoded, "_build", lambda *arguments: calls.append(1) or original(*arguments))
    return calls


def test_a_folder_is_decoded_once_until_an_image_or_an_option_changes(tmp_path, builds):
    root, cache = tree(tmp_path / "a"), tmp_path / "cache"
    image_folder(Decoding(cache_dir=cache), str(root))
    image_folder(Decoding(cache_dir=cache, on_bad_image="skip"), str(root))
    assert len(builds) == 1
    os.utime(root / "cat" / "00.png")  # touched
    moved = shutil.move(root, tmp_path / "moved")
    image_folder(Decoding(cache_dir=cache), str(moved))
    assert len(builds) == 1
    image_folder(Decoding(cache_dir=cache, size=4), str(moved))
    assert len(builds) == 2
    write(tmp_path / "moved" / "cat" / "00.png", picture(99))
    assert 99 in numbers(image_folder(Decoding(cache_dir=cache), str(moved)).train)
    assert len(builds) == 3


def test_pixels_are_mapped_and_writing_to_them_leaves_the_cache_alone(tmp_path):
    root, decoding = tree(tmp_path / "a"), Decoding(cache_dir=tmp_path / "cache")
    splits = image_folder(decoding, str(root))
    before = splits.train.images.clone()
    splits.train.images.zero_()
    assert splits.train.mapped
    assert torch.equal(image_folder(decoding, str(root)).train.images, before)


def test_a_crash_while_decoding_leaves_nothing_that_is_taken_for_a_cache(tmp_path, monkeypatch):
    root, decoding = tree(tmp_path / "a"), Decoding(cache_dir=tmp_path / "cache")
    expected = numbers(image_folder(Decoding(cache_dir=tmp_path / "other"), str(root)).train)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoded.os, "rename", crash)  # the last moment
        with pytest.raises(KeyboardInterrupt):
            image_folder(decoding, str(root))
    assert folders(tmp_path / "cache") == []
    (key,) = folders(tmp_path / "other")
    left_over = tmp_path / "cache" / "decoded" / f"{key}.part999"  # as after a power cut
    left_over.mkdir()
    assert numbers(image_folder(decoding, str(root)).train) == expected
    assert folders(tmp_path / "cache") == [key]


def test_a_cut_cache_is_noticed(tmp_path):
    root, decoding = tree(tmp_path / "a"), Decoding(cache_dir=tmp_path / "cache")
    image_folder(decoding, str(root))
    (key,) = folders(tmp_path / "cache")
    os.truncate(tmp_path / "cache" / "decoded" / key / "images.u8", 100)
    with pytest.raises(UserError, match=r"is damaged: delete it"):
        image_folder(decoding, str(root))


def _decode(root, cache, queue):
    calls = []
    original = decoded._build
    decoded._build = lambda *arguments: calls.append(1) or original(*arguments)
    images = image_folder(Decoding(cache_dir=cache), root).train.images
    queue.put((len(calls), int(images.long().sum())))


def test_of_several_processes_one_decodes(tmp_path):
    root = tree(tmp_path / "a", 60)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_decode, args=(str(root), tmp_path / "cache", queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(count for count, _ in results) == [0, 1]
    assert len({total for _, total in results}) == 1


def test_a_killed_process_lets_the_next_one_decode(tmp_path):
    root, cache = tree(tmp_path / "a"), tmp_path / "cache"
    program = f"""
import time
from pathlib import Path
from lightning_gen.data import decoded
from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.folder import image_folder
def wait(path, *_):
    path.write_bytes(b"half")
    time.sleep(60)
decoded._close_gaps = wait
image_folder(Decoding(cache_dir=Path({str(cache)!r})), {str(root)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while not list(cache.glob("decoded/*.part*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(image_folder(Decoding(cache_dir=cache), str(root)).train) == 18
    assert len(folders(cache)) == 1


def test_worker_processes_give_what_one_process_gives(tmp_path, monkeypatch):
    root = tree(tmp_path / "a", 60)
    (root / "bad.png").write_bytes(b"")
    alone = image_folder(Decoding(cache_dir=tmp_path / "one", on_bad_image="skip"), str(root))
    monkeypatch.setattr("lightning_gen.data.parallel.ALONE", 0)
    for name in ("parallel", "decoded"):
        monkeypatch.setattr(f"lightning_gen.data.{name}.PART", 7)
    many = image_folder(Decoding(cache_dir=tmp_path / "two", on_bad_image="skip"), str(root))
    assert torch.equal(alone.train.images, many.train.images)
    assert torch.equal(alone.test.images, many.test.images)
    assert folders(tmp_path / "one") == folders(tmp_path / "two")


def test_a_full_disk_is_told_before_decoding(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(UserError, match=r"take 0\.0 GB.*dataset\.cache_dir"):
        image_folder(Decoding(cache_dir=tmp_path / "cache"), str(tree(tmp_path / "a")))


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"dataset\.cache_dir="):
        image_folder(Decoding(cache_dir=tmp_path / "file"), str(tree(tmp_path / "a")))
