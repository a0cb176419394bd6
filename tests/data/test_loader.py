"""The training stream: a pure function of (seed, epoch), each image once an epoch, shared without overlap."""

from itertools import islice

import pytest
import torch

from lightning_gen.data.loader import TrainLoader, in_order, permutation, stream
from lightning_gen.data.sources import ImageSet, digits
from lightning_gen.data.transforms import resize, set_channels
from lightning_gen.errors import UserError


def numbered(size):
    """Images whose only pixel is their number."""
    return ImageSet(torch.arange(size, dtype=torch.uint8).view(size, 1, 1, 1), torch.arange(size))


def labels(loader, count):
    return torch.stack([batch.labels for batch in islice(loader, count)])


def test_every_image_once_an_epoch():
    batches = torch.cat(list(islice(stream(seed=3, size=10, batch_size=4), 5)))
    assert sorted(batches[:10].tolist()) == sorted(batches[10:].tolist()) == list(range(10))
    assert torch.equal(batches, torch.cat([permutation(3, 0, 10), permutation(3, 1, 10)]))
    assert not torch.equal(batches[:10], batches[10:])


@pytest.mark.parametrize("start", [0, 4, 12, 36])
def test_a_position_is_a_number_of_images(start):
    whole = torch.cat(list(islice(stream(0, 10, 4), 12)))
    assert torch.equal(torch.cat(list(islice(stream(0, 10, 4, start), 3))), whole[start : start + 12])


def test_batches_larger_than_the_set():
    assert sorted(next(stream(0, 3, 9)).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("batches_per_step", [1, 3])
def test_ranks_share_each_global_batch(batches_per_step):
    options = {"batch_size": 4, "seed": 1, "batches_per_step": batches_per_step}
    one = labels(TrainLoader(numbered(30), **options), 6)
    two = [labels(TrainLoader(numbered(30), **options, rank=rank, world_size=2), 6) for rank in (0, 1)]
    together = torch.stack([part.view(6, batches_per_step, 2) for part in two], dim=2)
    assert torch.equal(together.flatten(1), one)


def test_images_are_floats_in_the_unit_interval():
    batch = next(iter(TrainLoader(numbered(256), 256, seed=0)))
    assert batch.images.dtype == torch.float32
    torch.testing.assert_close(batch.images.flatten() * 255, batch.labels.float())


def test_in_order_gives_every_image_once():
    batches = list(in_order(numbered(7), 3, torch.device("cpu")))
    assert torch.cat([b.labels for b in batches]).tolist() == list(range(7))


def test_the_digits():
    splits = digits()
    assert (len(splits.train), len(splits.test)) == (1437, 360)
    assert splits.train.images.dtype == torch.uint8
    assert splits.train.image_shape == (1, 8, 8)
    assert splits.train.images.max() == 255
    counts = torch.bincount(splits.test.labels, minlength=10)
    assert counts.min() >= 34  # stratified
    both = torch.cat([splits.train.images, splits.test.images]).double().sum().item()
    assert both == pytest.approx(561718 * 255 / 16, rel=1e-3)  # the sum of the 1,797 arrays, before rounding


def test_resize_keeps_a_constant_image():
    grey = torch.full((2, 1, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(resize(grey, 28), torch.full((2, 1, 28, 28), 77, dtype=torch.uint8))


def test_channels():
    grey = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
    colour = set_channels(grey, 3)
    assert torch.equal(set_channels(colour, 1), grey)
    red = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    red[:, 0] = 255
    assert set_channels(red, 1).item() == 76  # 0.299 * 255
    with pytest.raises(UserError, match="channels=2"):
        set_channels(grey, 2)


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_torchvision_sets(data_root, name):
    from lightning_gen.data import sources

    splits = getattr(sources, name)(str(data_root))
    assert (len(splits.train), len(splits.test)) == (60000, 10000)
    assert splits.train.image_shape == (1, 28, 28)
    assert len(splits.train.classes) == 10
