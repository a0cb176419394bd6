"""Batches by index from a set that lies in memory: no worker, no per-image Python.

The training stream is the permutations of epoch 0, 1, 2, ... one after the other, cut into batches: its order is
a pure function of (seed, epoch), and a position in it is a number of images. So a run resumes in the middle of an
epoch by that number alone, and each of several ranks takes its share of every global batch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gen.data.sources import ImageSet
from lightning_gen.randomness import mix


class Batch(NamedTuple):
    """Images float [B, C, H, W] in [0, 1], labels int64 [B] or none."""

    images: Tensor
    labels: Tensor | None


def to_float(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float in [0, 1]."""
    return images.float().div_(255)


def permutation(seed: int, epoch: int, size: int) -> Tensor:
    """The order of one epoch, int64 [size], on the CPU, so that every device agrees."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(mix(seed, epoch)))


def stream(seed: int, size: int, batch_size: int, start: int = 0) -> Iterator[Tensor]:
    """Endless global batches of indices, int64 [batch_size], from the `start`-th image of the stream on."""
    epoch, offset = divmod(start, size)
    rest = permutation(seed, epoch, size)[offset:]
    while True:
        while len(rest) < batch_size:
            epoch += 1
            rest = torch.cat([rest, permutation(seed, epoch, size)])
        yield rest[:batch_size]
        rest = rest[batch_size:]


class TrainLoader:
    """An endless iterable of the rank's share of each global batch, from `start` images on.

    One batch holds `batches_per_step` global batches (the GAN's d_steps), one after the other.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        *,
        seed: int,
        start: int = 0,
        batches_per_step: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.data, self.batch_size, self.seed, self.start = data, batch_size, seed, start
        self.batches_per_step, self.rank, self.world_size = batches_per_step, rank, world_size

    def __iter__(self) -> Iterator[Batch]:
        share = self.batch_size // self.world_size
        images, labels = self.data.images, self.data.labels
        for indices in stream(self.seed, len(self.data), self.batch_size * self.batches_per_step, self.start):
            mine = indices.view(self.batches_per_step, self.world_size, share)[:, self.rank].flatten()
            mine = mine.to(images.device, non_blocking=True)
            yield Batch(to_float(images[mine]), None if labels is None else labels[mine])


def in_order(data: ImageSet, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Every image once, in order: for evaluation."""
    for start in range(0, len(data), batch_size):
        part = slice(start, start + batch_size)
        labels = None if data.labels is None else data.labels[part].to(device)
        yield Batch(to_float(data.images[part].to(device)), labels)
