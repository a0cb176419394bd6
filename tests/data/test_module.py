"""The data module: what is chosen, changed and placed, and what is refused before training."""

import itertools

import pytest
import torch

from lightning_gen.data import placement
from lightning_gen.data.imageset import ImageSet, Splits
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.placement import place, put
from lightning_gen.data.sources.digits import digits
from lightning_gen.errors import UserError

CPU = torch.device("cpu")


def module(source=digits, **options):
    return ImageDataModule("digits", source, **options)


def unlabelled(decoding):
    splits = digits()
    return Splits(ImageSet(splits.train.images), ImageSet(splits.test.images))


def test_the_digits():
    splits = digits()
    assert (len(splits.train), len(splits.test)) == (1437, 360)
    assert splits.train.image_shape == (1, 8, 8)
    assert splits.train.images.max() == 255
    assert torch.bincount(splits.test.labels, minlength=10).min() >= 34  # stratified
    both = torch.cat([splits.train.images, splits.test.images]).double().sum().item()
    assert both == pytest.approx(561718 * 255 / 16, rel=1e-3)  # the sum of the 1,797 arrays, before rounding


def test_by_default_everything_is_as_the_source_has_it():
    data = module()
    assert torch.equal(data.train.images, digits().train.images)
    assert torch.equal(data.test.labels, digits().test.labels)
    assert (data.image_shape, data.num_classes) == ((1, 8, 8), 10)


def test_classes_are_chosen_from_both_splits_and_numbered_in_their_order():
    data, whole = module(classes=[5, "3"]), digits()
    assert data.train.classes == ("5", "3")
    for chosen, everything in ((data.train, whole.train), (data.test, whole.test)):
        wanted = (everything.labels == 5) | (everything.labels == 3)
        assert torch.equal(chosen.images, everything.images[wanted])
        assert torch.equal(chosen.labels, (everything.labels[wanted] == 3).long())


def test_a_fraction_is_random_by_the_seed_nested_and_of_the_training_images_only():
    small, large, other = module(fraction=0.1), module(fraction=0.2), module(fraction=0.1, seed=1)
    assert (len(small.train), len(large.train), len(small.test)) == (144, 287, 360)
    assert torch.equal(small.train.images, module(fraction=0.1).train.images)
    assert not torch.equal(small.train.images, other.train.images)
    assert not torch.equal(small.train.images, digits().train.images[:144])  # no prefix
    inside = {image.numpy().tobytes() for image in large.train.images}
    assert all(image.numpy().tobytes() in inside for image in small.train.images)
    assert torch.equal(module(limit=144).train.images, small.train.images)
    assert len(module(limit=10**6).train) == 1437
    assert len(module(fraction=0.5, limit=7).train) == 7


def test_labels_can_be_asked_for_and_forgotten():
    assert module(labels=True).train.labels is not None
    assert module(labels=False).train.labels is None
    batch = next(iter(module(labels=False).train_loader(CPU)))
    assert batch.labels is None
    assert module(labels=False, classes=[3]).train.labels is None
    with pytest.raises(UserError, match=r"dataset\.labels=true, but dataset=digits has no labels"):
        module(unlabelled, labels=True).load()


def test_a_random_window_is_what_the_models_see_and_the_middle_what_is_compared():
    data = module(size=12, random_crop=9, flip=True)
    assert data.image_shape == (1, 9, 9)
    assert data.load().train.image_shape == (1, 12, 12)
    assert torch.equal(data.test.images, data.load().test.images[..., 1:10, 1:10])
    assert next(iter(data.train_loader(CPU))).images.shape == (64, 1, 9, 9)
    assert next(data.test_batches(CPU)).images.shape == (360, 1, 9, 9)


def epoch(data):
    """The images of the first epoch in the order of the data set."""
    batches = list(itertools.islice(data.train_loader(CPU), 1437 // 3))
    order = torch.cat(list(itertools.islice(data.train_loader(CPU).indices(), 1437 // 3)))
    return torch.cat([batch.images for batch in batches])[order.argsort()]


def test_static_binarization_is_the_same_at_each_use_and_dynamic_is_not():
    static, dynamic = module(binarize="static", batch_size=3), module(binarize="dynamic", batch_size=3)
    assert torch.equal(epoch(static), static.train.images / 255)
    assert static.train.images.unique().tolist() == [0, 255]
    drawn = epoch(dynamic)
    assert drawn.unique().tolist() == [0.0, 1.0]
    assert not torch.equal(drawn, dynamic.train.images / 255)
    grey = digits().train.images / 255
    assert ((drawn == 1) <= (grey > 0)).all()
    assert torch.equal(dynamic.test.images, static.test.images)  # evaluation compares with one fixed draw
    for data in (static, dynamic):
        assert torch.equal(next(data.test_batches(CPU)).images, data.test.images / 255)


def test_held_out_images_are_dequantized_by_the_same_noise_at_each_evaluation():
    data = module(dequantize=True)
    first, second = (next(data.test_batches(CPU)).images for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal((first * 256).floor(), data.test.images.float())


def test_only_training_images_are_mutated():
    data, plain = module(mutation=1.0), module()
    mutated = next(iter(data.train_loader(CPU))).images
    assert mutated.mean() == pytest.approx(0.5, abs=0.03)  # uniform: nothing of the digits is left
    for held in ("test_batches", "train_batches"):
        assert torch.equal(next(getattr(data, held)(CPU)).images, next(getattr(plain, held)(CPU)).images)


BAD = {
    r"images are 8x8, smaller than a crop of 9x9": {"crop": 9},
    r"smaller than a crop of 10x10": {"random_crop": 10},
    r"dataset\.channels=2": {"channels": 2},
    r"dataset\.binarize and dataset\.dequantize exclude": {"binarize": "static", "dequantize": True},
    r"excludes dataset\.binarize=static": {"binarize": "static", "mutation": 0.1},
    r"dataset\.placement=disk does not exist": {"placement": "disk"},
    r"dataset\.memory_fraction=0": {"memory_fraction": 0},
    r"dataset\.classes=\[\]": {"classes": []},
    r"dataset\.classes=\[3, '3'\]": {"classes": [3, "3"]},
    r"there is no class 'four'": {"classes": ["four"]},
    r"there is no class 10; there are 0, 1": {"classes": [10]},
    r"has no labels: set dataset\.classes=null": {"classes": [3], "source": unlabelled},
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_had_is_refused(message):
    with pytest.raises(UserError, match=message):
        module(**BAD[message]).train  # noqa: B018


def mapped(tmp_path, count=30):
    path = tmp_path / "images.u8"
    path.write_bytes(torch.arange(count * 4).remainder(251).to(torch.uint8).numpy().tobytes())
    images = torch.from_file(str(path), shared=False, size=count * 4, dtype=torch.uint8)
    return ImageSet(images.view(count, 1, 2, 2), mapped=True)


def test_a_set_lies_where_its_budget_has_room(tmp_path, monkeypatch):
    data, gpu = mapped(tmp_path), torch.device("cuda")  # 120 bytes
    monkeypatch.setattr(placement, "free_host_memory", lambda: 1000)
    monkeypatch.setattr(placement, "free_device_memory", lambda device: 400)
    assert place(data, CPU, "auto", 0.33, 1) == "host"
    assert place(data, CPU, "auto", 0.33, 4) == "stream"  # four processes share the host
    assert place(data, CPU, "auto", 0.1, 1) == "stream"
    assert place(ImageSet(data.images), CPU, "auto", 0.1, 1) == "host"  # it is there already
    assert place(data, gpu, "auto", 0.33, 1) == "device"
    assert place(data, gpu, "auto", 0.2, 1) == "host"
    assert place(data, gpu, "auto", 0.1, 1) == "stream"
    assert place(data, gpu, "stream", 0.33, 1) == "stream"
    with pytest.raises(UserError, match="these are in memory"):
        place(ImageSet(data.images), CPU, "stream", 0.33, 1)


def test_the_batches_do_not_depend_on_where_the_images_lie(tmp_path):
    streams = []
    for where in ("host", "stream", "device"):
        data = ImageDataModule("x", lambda _: Splits(mapped(tmp_path), mapped(tmp_path)), 8, placement=where)
        streams.append(torch.cat([batch.images for batch in itertools.islice(data.train_loader(CPU), 9)]))
        assert data.place(CPU) == where
    assert torch.equal(streams[0], streams[1])
    assert torch.equal(streams[0], streams[2])


def test_a_set_in_host_memory_is_no_longer_the_file(tmp_path):
    data = mapped(tmp_path)
    assert not put(data, "host", CPU).mapped
    assert put(data, "stream", CPU) is data


def test_test_images_of_another_shape_are_told():
    def source(decoding):
        shapes = ((4, 1, 8, 8), (4, 3, 9, 8))
        return Splits(*(ImageSet(torch.zeros(shape, dtype=torch.uint8)) for shape in shapes))

    with pytest.raises(UserError, match=r"training images are 1x8x8 and test images 3x9x8: set dataset\.size and"):
        ImageDataModule("own", source).load()
    assert ImageDataModule("own", source, size=8, channels=1).load().test.image_shape == (1, 8, 8)
