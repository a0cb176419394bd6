"""The LightningDataModule: a source, its size and channels, on the training device."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from pytorch_lightning import LightningDataModule

from lightning_gen.data.loader import Batch, TrainLoader, in_order, permutation
from lightning_gen.data.sources import ImageSet, Splits
from lightning_gen.data.transforms import resize, set_channels
from lightning_gen.errors import UserError


class ImageDataModule(LightningDataModule):
    """Images of one data set as uint8 in memory, batches as float in [0, 1] by index.

    `source(root=...)` gives the splits. `batch_size` is the batch over all devices. `size` and `channels` change
    the images once, before training. `seed` fixes the order of the training stream.

    Raises (from `load`):
        UserError: missing data, or a `size` or `channels` that cannot be had.
    """

    def __init__(
        self,
        name: str,
        source: Callable[..., Splits],
        root: str | None = None,
        batch_size: int = 64,
        size: int | None = None,
        channels: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dataset, self.source, self.root = name, source, root
        self.batch_size, self.size, self.channels, self.seed = batch_size, size, channels, seed
        self._splits: Splits | None = None

    def load(self) -> Splits:
        """Read the splits once; safe to call again."""
        if self._splits is None:
            splits = self.source(root=self.root)
            self._splits = Splits(self._transformed(splits.train), self._transformed(splits.test))
        return self._splits

    def _transformed(self, data: ImageSet) -> ImageSet:
        images = data.images
        if self.channels is not None:
            images = set_channels(images, self.channels)
        if self.size is not None:
            if self.size < 1:
                raise UserError(f"dataset.size={self.size} is not an image size: use a positive number of pixels.")
            images = resize(images, self.size)
        return replace(data, images=images.contiguous())

    @property
    def train(self) -> ImageSet:
        return self.load().train

    @property
    def test(self) -> ImageSet:
        return self.load().test

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.image_shape

    @property
    def num_classes(self) -> int:
        return len(self.train.classes)

    def setup(self, stage: str | None = None) -> None:
        self.load()

    def train_dataloader(self) -> TrainLoader:
        """The endless training stream, from where the attached model stands (its `images_seen`)."""
        trainer, model = self.trainer, self.trainer.lightning_module  # type: ignore[union-attr]
        return TrainLoader(
            self.train.to(trainer.strategy.root_device),  # type: ignore[union-attr]
            self.batch_size,
            seed=self.seed,
            start=getattr(model, "images_seen", 0),
            batches_per_step=getattr(model, "batches_per_step", 1),
            rank=trainer.global_rank,  # type: ignore[union-attr]
            world_size=trainer.world_size,  # type: ignore[union-attr]
        )

    def train_batches(self, device: torch.device, batch_size: int = 500, limit: int = 10_000) -> Iterator[Batch]:
        """A fixed random subset of the training images, in batches on `device`: to fit things to."""
        chosen = permutation(self.seed, -1, len(self.train))[:limit]
        return in_order(self.train.subset(chosen), batch_size, device)

    def test_batches(self, device: torch.device, batch_size: int = 500, limit: int | None = None) -> Iterator[Batch]:
        """The held-out images in order, in batches on `device`; at most `limit` of them."""
        data = self.test if limit is None else self.test.subset(torch.arange(min(limit, len(self.test))))
        return in_order(data, batch_size, device)
