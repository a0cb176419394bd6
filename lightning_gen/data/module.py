"""The LightningDataModule: the images of a source, a selection of them, and batches on the training device."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule

from lightning_gen.data.imageset import Decoding, ImageSet, Splits
from lightning_gen.data.loader import Batch, Streams, TrainLoader, in_order, permutation
from lightning_gen.data.placement import check_budget, place, put
from lightning_gen.data.poisson import PoissonLoader
from lightning_gen.data.tables import TableSchema
from lightning_gen.data.transforms import BatchTransform, binarize_all, centre, resize, set_channels
from lightning_gen.data.words import unit_of
from lightning_gen.errors import UserError
from lightning_gen.randomness import Stream, mix
from lightning_gen.ranges import Count, Fraction, Natural, PositiveFraction


class ImageDataModule(LightningDataModule):
    """The images of one data set, stored as uint8 in memory or mapped from disk; batches are float in [0, 1].

    `load` raises a UserError for missing data, bad images and options that do not fit the data set.

    Args:
        name: name of the data set.
        source: a function (decoding, **source_options) that returns the splits.
        batch_size: images in a batch, over all devices.
        size, channels, crop: change the images once, before training.
        random_crop, flip, dequantize, binarize, mutation: change each batch.
        classes: the classes to keep, in both splits.
        fraction, limit: how many of the training images to keep.
        labels: True requires labels, False drops them, None takes what there is.
        on_bad_image: refuse or skip images that cannot be used.
        placement, memory_fraction, read_ahead: where the training images are kept; see placement.py.
        cache_dir: folder for decoded images.
        seed: decides the order of the images, the selection and everything random.
        source_options: arguments of `source`.

    conf/dataset/base.yaml describes the options in detail.
    """

    def __init__(
        self,
        name: str | None,
        source: Callable[..., Splits],
        batch_size: Count = 64,
        size: Count | None = None,
        channels: Literal[1, 3] | None = None,
        crop: Count | None = None,
        random_crop: Count | None = None,
        flip: bool = False,
        dequantize: bool = False,
        binarize: Literal["none", "static", "dynamic"] = "none",
        mutation: Fraction = 0.0,
        classes: list[str | int] | None = None,
        fraction: PositiveFraction | None = None,
        limit: Count | None = None,
        labels: bool | None = None,
        on_bad_image: Literal["refuse", "skip"] = "refuse",
        placement: Literal["auto", "device", "host", "stream"] = "auto",
        memory_fraction: PositiveFraction = 0.33,
        read_ahead: Natural = 4,
        cache_dir: str = "~/.cache/lightning_gen",
        seed: int = 0,
        **source_options: Any,
    ) -> None:
        super().__init__()
        self.dataset, self.source, self.source_options = name or "", source, source_options
        self.batch_size, self.seed, self.random_crop, self.binarize = batch_size, seed, random_crop, binarize
        self.classes, self.fraction, self.limit, self.labels = classes, fraction, limit, labels
        self.placement, self.memory_fraction, self.read_ahead = placement, memory_fraction, read_ahead
        self.decoding = Decoding(size, channels, crop, on_bad_image, Path(cache_dir))
        self.batch_transform = BatchTransform(flip, random_crop, dequantize, binarize == "dynamic", mutation)
        self.loader: TrainLoader | None = None  # of the training
        self.sampling_secret: int | None = None  # of private training, whose batches are Poisson samples

    # -- the images --------------------------------------------------------------------------------------------

    def load(self) -> Splits:
        """The splits as they are stored. They are read once, at the first call."""
        return self._stored

    @cached_property
    def _stored(self) -> Splits:
        self._check()
        splits = self.source(self.decoding, **self.source_options)
        if not isinstance(splits, Splits):
            raise UserError(
                f"dataset={self.dataset}: its source returns {type(splits).__name__}, but must return Splits."
            )
        if splits.train.images.is_floating_point():
            self._check_points()
        if splits.train.stream is not None:
            self._check_stream()
        train, test = (self._transformed(self._chosen_by_label(part)) for part in (splits.train, splits.test))
        if train.image_shape != test.image_shape:
            raise UserError(
                f"dataset={self.dataset}: training images are {_shown(train)} and test images {_shown(test)}: set "
                f"dataset.size and dataset.channels, which make them equal."
            )
        self._whole = train
        if self.fraction is not None or self.limit is not None:
            train = train.subset(self._chosen(len(train)))
        if self.binarize == "static":
            train, test = self._binary(train), self._binary(test)
        return Splits(train, test)

    @cached_property
    def train(self) -> ImageSet:
        """The training images as a model sees them in evaluation: cropped to the centre, and binarized if asked."""
        return self._seen(self._stored.train)

    @cached_property
    def test(self) -> ImageSet:
        """The test images, in the same way."""
        return self._seen(self._stored.test)

    def kept(self) -> tuple[torch.Tensor, int]:
        """The numbers of the training images, int64 [N] in order, and the number of images they were chosen from.

        `fraction` and `limit` choose; without them, all images are kept.
        """
        self.load()
        count = len(self._whole)
        chosen = self.fraction is not None or self.limit is not None
        return (self._chosen(count) if chosen else torch.arange(count)), count

    def chosen_from(self, numbers: torch.Tensor) -> ImageSet:
        """Images by their numbers of `kept`, also those that were left out, as a model sees them in evaluation."""
        self.load()
        part = self._whole.subset(numbers)
        return self._seen(self._binary(part) if self.binarize == "static" else part)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.image_shape

    @property
    def table(self) -> TableSchema | None:
        """The columns, if these are rows of a table."""
        return self.load().train.table

    @property
    def unit(self) -> str:
        """What is counted: `images`, `points` in the plane, or `rows` of a table."""
        return unit_of(self.image_shape, self.table is not None)

    @property
    def num_classes(self) -> int:
        return len(self.train.classes)

    def _seen(self, data: ImageSet) -> ImageSet:
        images = data.images
        if self.random_crop is not None:
            images = centre(images, self.random_crop, self.random_crop)
        seen = data.with_images(images)
        return self._binary(seen) if self.binarize == "dynamic" else seen

    def _binary(self, data: ImageSet) -> ImageSet:
        return data.with_images(binarize_all(data.images, mix(self.seed, Stream.BINARIZATION)))

    def _transformed(self, data: ImageSet) -> ImageSet:
        """Crop, resize and convert the channels, unless decoding has done so already."""
        images, asked = data.images, self.decoding
        if asked.channels is not None:
            images = set_channels(images, asked.channels)
        decoded_already = data.mapped and (asked.size or asked.crop)
        if asked.crop is not None and not decoded_already:
            images = centre(images, asked.crop, asked.crop)
        if asked.size is not None:
            images = resize(images, asked.size)
        return data.with_images(images if data.mapped else images.contiguous())

    def _chosen_by_label(self, data: ImageSet) -> ImageSet:
        if self.labels and data.labels is None:
            raise UserError(f"dataset.labels=true, but dataset={self.dataset} has no labels.")
        if self.classes is not None:
            data = data.only_classes(self.classes)
        return data if self.labels is not False else replace(data, labels=None, classes=())

    def _chosen(self, count: int) -> torch.Tensor:
        """Which training images to keep, in order. For one seed, a smaller selection is part of a larger one."""
        keep = count if self.fraction is None else max(round(self.fraction * count), 1)
        keep = min(keep, self.limit or keep)
        return permutation(mix(self.seed, Stream.SUBSET), 0, count)[:keep].sort().values

    # -- what can be wrong -------------------------------------------------------------------------------------

    def _check(self) -> None:
        check_budget(self.placement, self.memory_fraction)
        if self.binarize != "none" and self.batch_transform.dequantize:
            raise UserError(
                "dataset.binarize and dataset.dequantize exclude each other: binary pixels have no grey levels."
            )
        if self.binarize == "static" and self.batch_transform.mutation:
            raise UserError("dataset.mutation makes grey levels, and excludes dataset.binarize=static: use dynamic.")
        if self.classes is not None and (not self.classes or len(set(map(str, self.classes))) < len(self.classes)):
            raise UserError(f"dataset.classes={self.classes}: name at least one class, and each once.")

    def _check_points(self) -> None:
        """Refuse changes of images for float data: points, or rows of a table."""
        asked, batch = self.decoding, self.batch_transform
        if asked.size or asked.channels or asked.crop or batch.is_random or self.binarize != "none":
            raise UserError(
                f"dataset={self.dataset} holds points or rows, not images: dataset.size, channels, crop, "
                f"random_crop, flip, dequantize, binarize and mutation do not apply."
            )

    def _check_stream(self) -> None:
        chosen = [
            name for name in ("classes", "fraction", "limit", "labels") if getattr(self, name) not in (None, True)
        ]
        if chosen or self.binarize == "static":
            key = chosen[0] if chosen else "binarize=static"
            raise UserError(
                f"dataset.{key} needs all images at once, but dataset={self.dataset} reads them while training."
            )

    # -- the batches -------------------------------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        self.load()

    def train_dataloader(self) -> TrainLoader | Streams:
        """The endless training stream, starting at the `images_seen` of the model that is trained."""
        trainer, model = self.trainer, self.trainer.lightning_module  # type: ignore[union-attr]
        loader = self.train_loader(
            trainer.strategy.root_device,  # type: ignore[union-attr]
            start=getattr(model, "images_seen", 0),
            batches_per_step=getattr(model, "batches_per_step", 1),
            rank=trainer.global_rank,  # type: ignore[union-attr]
            world_size=trainer.world_size,  # type: ignore[union-attr]
            processes=trainer.num_devices,  # type: ignore[union-attr]
        )
        self.loader = loader
        takes_streams = getattr(trainer.strategy, "takes_streams", False)  # type: ignore[union-attr]
        return loader.streams() if takes_streams else loader

    def train_loader(self, device: torch.device, processes: int = 1, **position: int) -> TrainLoader:
        """The training stream on `device`, with the images kept where there is room for them.

        `processes`: number of processes on this host. `position`: start, batches_per_step, rank and world_size of a
        `TrainLoader`.
        """
        where = self.place(device, processes)
        data = put(self._stored.train, where, device)
        at_hand = where == "device" or (where == "host" and device.type == "cpu")
        make = TrainLoader
        if self.sampling_secret is not None:
            make = partial(PoissonLoader, secret=self.sampling_secret)  # type: ignore[assignment]
        return make(
            data,
            self.batch_size,
            seed=self.seed,
            device=device,
            transform=self.batch_transform,
            read_ahead=0 if at_hand else self.read_ahead,
            **position,
        )

    def place(self, device: torch.device, processes: int = 1) -> str:
        """`device`, `host` or `stream`: where the training images are kept for training on `device`."""
        return place(self._stored.train, device, self.placement, self.memory_fraction, processes)

    def train_batches(
        self,
        device: torch.device,
        batch_size: int = 500,
        limit: int = 10_000,
        chosen: torch.Tensor | None = None,
    ) -> Iterator[Batch]:
        """Training images as a model sees them in evaluation, in batches on `device`.

        A fixed random subset of `limit` of them, for fitting densities and probes, or those at `chosen`.
        """
        if chosen is None:
            chosen = permutation(self.seed, Stream.FIT, len(self.train))[:limit]
        return in_order(self.train.subset(chosen), batch_size, device, self.test_transform, self.seed)

    def test_batches(
        self,
        device: torch.device,
        batch_size: int = 500,
        limit: int | None = None,
        chosen: torch.Tensor | None = None,
    ) -> Iterator[Batch]:
        """The test images in order, in batches on `device`: at most `limit` of them, or those at `chosen`."""
        data = self.test if limit is None else self.test.part(0, limit)
        data = data if chosen is None else data.subset(chosen)
        return in_order(data, batch_size, device, self.test_transform, self.seed)

    @property
    def test_transform(self) -> BatchTransform:
        return BatchTransform(dequantize=self.batch_transform.dequantize)


def _shown(data: ImageSet) -> str:
    """The shape of the images, as 3x32x32."""
    return "x".join(map(str, data.image_shape))
