"""Images in shards on object storage or on disk, read while training. Needs the optional extra `shards` (litdata).

For data sets that are too large to decode onto a disk. litdata reads any item by its number, so the order is the same
as for other data sets: a pure function of (seed, epoch), exact on resume and independent of the number of devices.
"""

from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.decode import BadImage, Entry, decode
from lightning_gen.data.imageset import Decoding, ImageSet, Splits
from lightning_gen.data.loader import permutation
from lightning_gen.errors import UserError
from lightning_gen.ranges import Count, Natural

Item = tuple[Tensor, int | None]


def shards(decoding: Decoding, url: str | None, held_images: Count = 10_000, workers: Natural = 4) -> Splits:
    """The shards that `litdata.optimize` wrote to `url`/train and `url`/test.

    Each item is a dict with `image`, the bytes of an image file or uint8 [C, H, W], and optionally `label`.

    Args:
        decoding: shape of the images.
        url: such as s3://bucket/set.
        held_images: random images of each split that are kept in memory for the evaluation, the same in every run.
        workers: processes that read the training images.

    Raises:
        UserError: the extra is not installed, there are no shards, or an image cannot be used.
    """
    if url is None:
        raise UserError("dataset=shards needs the folder or bucket of the shards: dataset.url=s3://bucket/set.")
    train, test = (Shards(f"{str(url).rstrip('/')}/{part}", decoding, workers) for part in ("train", "test"))
    return Splits(train.held(held_images, stream=True), test.held(held_images, stream=False))


class Shards:
    """The items of one split, by number. It is copied to worker processes, each of which opens the shards itself."""

    def __init__(self, url: str, decoding: Decoding, workers: int) -> None:
        self.url, self.decoding, self.workers = url, decoding, workers
        self._opened: Any = None
        try:
            self.size = len(self._items)
        except UserError:
            raise
        except Exception as error:  # each kind of storage has other errors
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"dataset.url: there are no litdata shards at {url} ({reason}).") from error
        self._opened = None  # must not be shared with the workers

    @property
    def _items(self) -> Any:
        if self._opened is None:
            try:
                from litdata import StreamingDataset
            except ModuleNotFoundError as error:
                raise UserError("dataset=shards needs an extra: pip install 'lightning-gen[shards]'.") from error
            self._opened = StreamingDataset(self.url)
        return self._opened

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """The images uint8 [B, C, H, W] with these numbers, and labels int64 [B] or None."""
        items = [self._item(index) for index in indices.tolist()]
        shapes = {tuple(image.shape) for image, _ in items}
        if len(shapes) > 1:
            raise UserError(f"The images in {self.url} differ in size or channels: set dataset.size and channels.")
        labels = None if items[0][1] is None else torch.tensor([label for _, label in items])
        return torch.stack([image for image, _ in items]), labels

    def _item(self, index: int) -> Item:
        item, asked = self._items[index], self.decoding
        image, label = item["image"], item.get("label")
        if isinstance(image, bytes):
            try:
                pixels = decode(Entry(f"item {index}", data=image), asked.channels, asked.crop, asked.size)
            except BadImage as error:
                raise UserError(
                    f"Item {index} of {self.url} cannot be used ({error}): write the shards again."
                ) from error
            image = torch.from_numpy(pixels.copy())
        return torch.as_tensor(image), None if label is None else int(label)

    def held(self, count: int, stream: bool) -> ImageSet:
        """`count` random images in memory; with `stream`, training reads all images from these shards."""
        chosen = permutation(0, 0, len(self))[:count].sort().values
        images, labels = self[chosen]
        classes = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
        self._opened = None
        return ImageSet(images, labels, classes, stream=self if stream else None)
