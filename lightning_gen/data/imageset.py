"""What every source gives: images as one tensor, with labels or without, in a training and a held-out split."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lightning_gen.errors import UserError, did_you_mean

CHUNK = 4096  # images at a time, so that copies of another type stay small


@dataclass(frozen=True)
class Modes:
    """The modes of a mixture of Gaussians in the plane: centres [K, 2] and one standard deviation, in [0, 1]."""

    centres: Tensor
    std: float


class Stream(Protocol):
    """Images that are read while training: `stream[indices]` gives uint8 [B, C, H, W], and labels or none."""

    workers: int  # processes that read

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 [N, C, H, W] with labels int64 [N], or none, and the names of the classes.

    Points of the plane are float images [N, 1, 1, 2] in [0, 1], with `modes` where they have some. `mapped`: the
    images are a file mapped into memory, of which the system holds what it has room for. `stream`: where training
    reads its images, by number; the images here are then only some of them.
    `factors`: the known factors of variation, int64 [N, K], of a set that is made by formula; `categorical`: which
    of them have no order.
    """

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    modes: Modes | None = None
    mapped: bool = False
    factors: Tensor | None = None
    categorical: tuple[int, ...] = ()
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
        """Other images, in memory, with the same labels."""
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
        """The images from `start` to `stop`, without a copy."""
        labels, factors = (None if t is None else t[start:stop] for t in (self.labels, self.factors))
        return replace(self, images=self.images[start:stop], labels=labels, factors=factors)

    def only_classes(self, chosen: list[str | int]) -> "ImageSet":
        """The images of these classes, by name or number, which become the classes 0, 1, ... in this order.

        Raises:
            UserError: the set has no labels, or no such class.
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
    """The training images and the held-out ones, by the official split where there is one."""

    train: ImageSet
    test: ImageSet


@dataclass(frozen=True)
class Decoding:
    """How a source of files makes images of one shape, and where it may keep them.

    `crop`: pixels a side of the centre that is cut out first. `size`: pixels a side after resizing. `channels`: 1
    or 3. Each may be None: as the files are. `on_bad_image`: "refuse" or "skip".
    """

    size: int | None = None
    channels: int | None = None
    crop: int | None = None
    on_bad_image: str = "refuse"
    cache_dir: Path = field(default=Path("~/.cache/lightning_gen"))


def class_number(one: str | int, data: ImageSet) -> int:
    """The number of a class that is given by its name or its number.

    Raises:
        UserError: the set has no labels, or no such class.
    """
    if data.labels is None:
        raise UserError("dataset.classes chooses by label, but this set has no labels: leave dataset.classes null.")
    names = data.classes
    if str(one) in names:  # the digit "3" and the number 3 are the same class
        return names.index(str(one))
    if isinstance(one, int) and 0 <= one < len(names):
        return one
    known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise UserError(f"dataset.classes: there is no class {one!r}; there are {known}.{did_you_mean(str(one), names)}")
