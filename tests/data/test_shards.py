"""Shards of litdata in a folder: the same order, whatever reads them."""

import io
import itertools

import pytest
import torch

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.loader import TrainLoader, stream
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.sources.shards import shards
from lightning_gen.errors import UserError
from tests.data.test_folder import numbers, picture

litdata = pytest.importorskip("litdata")
CPU = torch.device("cpu")


def item(number):
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG")
    return {"image": buffer.getvalue(), "label": number % 3}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """30 images to train on and 6 held out, each of which says its number, in shards of 8."""
    root = tmp_path_factory.mktemp("shards")
    for part, rows in (("train", range(30)), ("test", range(100, 106))):
        write_shards([item(row) for row in rows], root / part)
    return str(root)


def write_shards(items, folder):
    """As `litdata.optimize` does, but without its processes, which take half a minute to start."""
    folder.mkdir(parents=True)
    writer = litdata.streaming.writer.BinaryWriter(str(folder), chunk_size=8)
    for index, one in enumerate(items):
        writer[index] = one
    writer.done()
    writer.merge(1)


def module(url, **options):
    options = {"held_images": 12, "workers": 0, "batch_size": 5, **options}
    return ImageDataModule("shards", shards, url=url, **options)


def test_some_images_are_held_and_all_are_read(url):
    data = module(url)
    assert (len(data.train), len(data.test), data.image_shape) == (12, 6, (3, 8, 8))
    assert sorted(numbers(data.test)) == list(range(100, 106))
    assert [number % 3 for number in numbers(data.train)] == data.train.labels.tolist()
    assert data.place(CPU) == "stream"
    seen = torch.cat([batch.images[:, 0, 0, 0] for batch in itertools.islice(data.train_loader(CPU), 6)])
    assert sorted((seen * 255).round().int().tolist()) == list(range(30))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_that_of_every_other_set(url, workers):
    expected = torch.cat(list(itertools.islice(stream(0, 30, 5), 9)))
    batches = list(itertools.islice(module(url, workers=workers).train_loader(CPU), 9))
    seen = torch.cat([batch.images[:, 0, 0, 0] for batch in batches]) * 255
    assert seen.round().int().tolist() == expected.tolist()
    assert torch.cat([batch.labels for batch in batches]).tolist() == (expected % 3).tolist()


def test_it_goes_on_in_the_middle_and_ranks_share_the_batches(url):
    data = module(url, flip=True).train
    straight = [batch.labels for batch in itertools.islice(TrainLoader(data, 10, seed=0), 6)]
    rest = [batch.labels for batch in itertools.islice(TrainLoader(data, 10, seed=0, start=40), 2)]
    assert torch.equal(torch.cat(rest), torch.cat(straight[4:]))
    ranks = [next(iter(TrainLoader(data, 10, seed=0, rank=rank, world_size=2))).labels for rank in range(2)]
    assert torch.equal(torch.cat(ranks), straight[0])


def test_images_are_decoded_as_asked(url):
    data = module(url, size=4, channels=1)
    assert data.image_shape == (1, 4, 4)
    assert next(iter(data.train_loader(CPU))).images.shape == (5, 1, 4, 4)


def test_what_cannot_be_had_is_named(url, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.url=s3://bucket/set"):
        module(None).load()
    with pytest.raises(UserError, match=rf"no litdata shards at {tmp_path}/train"):
        module(str(tmp_path)).load()
    for options in ({"classes": [1]}, {"limit": 3}, {"binarize": "static"}, {"labels": False}):
        with pytest.raises(UserError, match=rf"dataset\.{next(iter(options))}.* reads them from afar"):
            module(url, **options).load()


def test_an_item_that_is_no_image_is_named(tmp_path):
    for part in ("train", "test"):
        write_shards([{"image": b"no image"}], tmp_path / part)
    with pytest.raises(UserError, match=r"Item 0 of .*/train cannot be used \(not an image"):
        shards(Decoding(), str(tmp_path))
