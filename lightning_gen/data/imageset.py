"""What every source returns: images as one tensor, with or without labels, in a training and a test split."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import UserError, did_you_mean

CHUNK = 4096  # images converted at a time, so that copies of another type stay small


@dataclass(frozen=True)
class Modes:
    """The modes of a mixture of Gaussians in the plane: centres [K, 2] and a standard deviation, scaled to [0, 1]."""

    centres: Tensor
    std: float


class Stream(Protocol):
    """Images that are read during training: `stream[indices]` gives uint8 [B, C, H, W], and labels or None."""

    workers: int  # processes that read images

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    Attributes:
        images: uint8 [N, C, H, W]. Points in the plane are float images [N, 1, 1, 2] in [0, 1], and rows of a table
            float [N, 1, 1, D], standardized.
        labels: int64 [N], or None.
        classes: names of the classes.
        modes: of points drawn from a mixture of Gaussians.
        mapped: the images are a memory-mapped file.
        factors: known factors of variation, int64 [N, K], of a synthetic data set.
        categorical: which of the factors have no order.
        table: the columns, if these are rows of a table.
        stream: where training reads its images, by number; `images` are then only a part of them.
    """

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    modes: Modes | None = None
    mapped: bool = False
    factors: Tensor | None = None
    categorical: tuple[int, ...] = ()
    table: TableSchema | None = None
    stream: "Stream | None" = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def nbytes(self) -> int:
        return self.images.numel() * self.images.element_size()

    def with_images(self, images: Tensor) -> "ImageSet":
        """The same labels with other images, in memory."""
        return replace(self, images=images, mapped=self.mapped and images is self.images)

    def to(self, device: torch.device) -> "ImageSet":
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels, mapped=False)

    def subset(self, indices: Tensor) -> "ImageSet":
        """The images at `indices` [M], copied into memory."""
        labels, factors = (None if t is None else t.index_select(0, indices) for t in (self.labels, self.factors))
        images = self.images.index_select(0, indices)
        return replace(self, images=images, labels=labels, factors=factors, mapped=False)

    def part(self, start: int, stop: int) -> "ImageSet":
        """The images from `start` up to `stop`, without a copy."""
        labels, factors = (None if t is None else t[start:stop] for t in (self.labels, self.factors))
        return replace(self, images=self.images[start:stop], labels=labels, factors=factors)

    def only_classes(self, chosen: list[str | int]) -> "ImageSet":
        """The images of these classes, given by name or number; they become classes 0, 1, ... in this order.

        Raises:
            UserError: there are no labels, or there is no such class.
        """
        numbers = [class_number(one, self) for one in chosen]
        assert self.labels is not None
        new = torch.full((max(len(self.classes), int(self.labels.max()) + 1),), -1)
        new[numbers] = torch.arange(len(numbers))
        labels = new[self.labels]
        rows = (labels >= 0).nonzero().squeeze(1)
        modes = self.modes and Modes(self.modes.centres[numbers], self.modes.std)
        kept = self.subset(rows)
        return replace(kept, labels=labels[rows], classes=tuple(self.classes[i] for i in numbers), modes=modes)


@dataclass(frozen=True)
class Splits:
    """The training split and the test split; the official ones where they exist."""

    train: ImageSet
    test: ImageSet


@dataclass(frozen=True)
class Decoding:
    """How a source turns image files into images of one shape, and where it caches them.

    Attributes:
        size: side in pixels after resizing; None: no resizing.
        channels: 1 or 3; None: as the files are.
        crop: side in pixels of the central square that is cut out first; None: no crop.
        on_bad_image: "refuse" or "skip".
        cache_dir: folder of the cache.
    """

    size: int | None = None
    channels: int | None = None
    crop: int | None = None
    on_bad_image: str = "refuse"
    cache_dir: Path = field(default=Path("~/.cache/lightning_gen"))


def class_number(one: str | int, data: ImageSet) -> int:
    """The number of a class given by its name or number.

    Raises:
        UserError: there are no labels, or there is no such class.
    """
    if data.labels is None:
        raise UserError(
            "dataset.classes selects by label, and this data set has no labels: set dataset.classes=null."
        )
    names = data.classes
    if str(one) in names:  # the digit "3" and the number 3 are the same class
        return names.index(str(one))
    if isinstance(one, int) and 0 <= one < len(names):
        return one
    known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise UserError(f"dataset.classes: there is no class {one!r}; there are {known}.{did_you_mean(str(one), names)}")
