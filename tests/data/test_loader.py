"""The order of the training stream, its shares, its position, and the draws that go with it."""

import itertools

import pytest
import torch

from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.loader import TrainLoader, in_order, permutation, stream
from lightning_gen.data.transforms import BatchTransform

EVERYTHING = BatchTransform(flip=True, window=3, dequantize=True)


def images(count=37):
    """Every image has its own number in every pixel's high bits, so that a batch says what is in it."""
    generator = torch.Generator().manual_seed(1)
    return ImageSet(torch.randint(256, (count, 1, 5, 5), generator=generator, dtype=torch.uint8), torch.arange(count))


def take(loader, count):
    batches = list(itertools.islice(loader, count))
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])


def test_each_epoch_holds_every_image_once_in_an_order_of_its_own():
    taken = torch.cat(list(itertools.islice(stream(3, 37, 5), 15)))[:74]
    assert sorted(taken[:37].tolist()) == sorted(taken[37:].tolist()) == list(range(37))
    assert taken[:37].tolist() != taken[37:].tolist()
    assert taken[:37].tolist() == permutation(3, 0, 37).tolist()
    assert torch.cat(list(itertools.islice(stream(4, 37, 5), 15)))[:74].tolist() != taken.tolist()


@pytest.mark.parametrize("start", [0, 5, 35, 40, 370])
def test_a_position_is_a_number_of_images(start):
    whole = torch.cat(list(itertools.islice(stream(0, 37, 5), 100)))
    assert torch.equal(torch.cat(list(itertools.islice(stream(0, 37, 5, start), 20))), whole[start : start + 100])


def test_batches_larger_than_the_set():
    assert sorted(next(stream(0, 3, 9)).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("transform", [BatchTransform(), EVERYTHING, BatchTransform(binarize=True)])
@pytest.mark.parametrize("batches_per_step", [1, 3])
def test_going_on_in_the_middle_is_bit_identical(transform, batches_per_step):
    options = {"seed": 2, "transform": transform, "batches_per_step": batches_per_step}
    straight = take(TrainLoader(images(), 10, **options), 12)
    first = take(TrainLoader(images(), 10, **options), 5)
    rest = take(TrainLoader(images(), 10, start=5 * 10 * batches_per_step, **options), 7)
    for whole, a, b in zip(straight, first, rest, strict=True):
        assert torch.equal(whole, torch.cat([a, b]))


@pytest.mark.parametrize("transform", [BatchTransform(), EVERYTHING, BatchTransform(binarize=True)])
@pytest.mark.parametrize(("batches_per_step", "world_size"), [(1, 2), (1, 5), (3, 2)])
def test_the_ranks_together_see_what_one_process_sees(transform, batches_per_step, world_size):
    options = {"seed": 2, "transform": transform, "batches_per_step": batches_per_step}
    alone = next(iter(TrainLoader(images(), 10, **options))).images
    ranks = [
        next(iter(TrainLoader(images(), 10, rank=rank, world_size=world_size, **options))).images
        for rank in range(world_size)
    ]
    shape = (batches_per_step, 10 // world_size, *alone.shape[1:])
    together = torch.cat([part.view(shape) for part in ranks], dim=1).flatten(0, 1)
    assert torch.equal(together, alone)


@pytest.mark.parametrize(("batches_per_step", "world_size"), [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_gathering_several_steps_at_once_changes_nothing(monkeypatch, batches_per_step, world_size):
    data = ImageSet(torch.randint(256, (37, 1, 8, 8), dtype=torch.uint8), torch.arange(37))

    def batches(start):
        position = {"batches_per_step": batches_per_step, "world_size": world_size, "rank": world_size - 1}
        loader = TrainLoader(data, 8, seed=2, start=start * 8 * batches_per_step, **position)
        return loader.steps_at_once(), list(itertools.islice(loader, 9))

    (several, together), (_, resumed) = batches(0), batches(4)
    assert several > 9
    monkeypatch.setattr("lightning_gen.data.loader.AT_ONCE", 0)
    (one, single), (_, later) = batches(0), batches(4)
    assert one == 1
    for left, right in zip([*together, *resumed], [*single, *later], strict=True):
        assert torch.equal(left.images, right.images)
        assert torch.equal(left.labels, right.labels)
        assert left.images.data_ptr() % 64 == 0  # or matrix products might round in another way
    assert torch.equal(together[4].images, resumed[0].images)


def test_a_batch_that_would_begin_at_an_odd_address_is_gathered_alone():
    assert TrainLoader(images(), 10, seed=0).steps_at_once() == 1  # 10 images of 25 numbers: 1,000 bytes


@pytest.mark.parametrize("read_ahead", [1, 4, 9])
def test_reading_ahead_changes_nothing(read_ahead):
    direct = take(TrainLoader(images(), 10, seed=2, transform=EVERYTHING), 30)
    early = take(TrainLoader(images(), 10, seed=2, transform=EVERYTHING, read_ahead=read_ahead), 30)
    assert torch.equal(direct[0], early[0])
    assert torch.equal(direct[1], early[1])


def test_an_error_while_reading_ahead_reaches_the_reader():
    broken = ImageSet(images().images, torch.arange(3))
    with pytest.raises(IndexError):
        take(TrainLoader(broken, 10, seed=0, read_ahead=3), 5)


def test_batches_are_what_is_stored():
    data = images()
    batch = next(iter(TrainLoader(data, 8, seed=0)))
    assert batch.images.dtype == torch.float32
    assert torch.equal(batch.images, data.images[batch.labels].float() / 255)


def test_evaluation_sees_each_image_once_and_the_same_draws():
    data = images()
    batches = list(in_order(data, 10, torch.device("cpu")))
    assert torch.equal(torch.cat([b.labels for b in batches]), data.labels)
    assert torch.equal(torch.cat([b.images for b in batches]), data.images.float() / 255)
    noisy = [
        torch.cat([b.images for b in in_order(data, 10, torch.device("cpu"), BatchTransform(dequantize=True))])
        for _ in range(2)
    ]
    assert torch.equal(*noisy)
    assert torch.equal((noisy[0] * 256).floor(), data.images.float())
