"""Batches by index: no per-image Python.

The training stream is the permutations of epoch 0, 1, 2, ... one after the other, cut into batches: its order is
a pure function of (seed, epoch), and a position in it is a number of images. So a run resumes in the middle of an
epoch by that number alone, and each of several ranks takes its share of every global batch. What is drawn for a
batch (flips, noise) is a pure function of (seed, position), drawn for the global batch and shared alike.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.transforms import BatchTransform
from lightning_gen.pictures import to_float
from lightning_gen.randomness import StepNoise, Stream, mix


class Batch(NamedTuple):
    """Images float [B, C, H, W] in [0, 1], labels int64 [B] or none."""

    images: Tensor
    labels: Tensor | None


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

    One batch holds `batches_per_step` global batches (the GAN's d_steps), one after the other. `read_ahead`: so
    many batches are gathered by threads before they are asked for, into pinned memory if they go to a GPU; 0
    where the images lie in the memory of the device.
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
        device: torch.device | None = None,
        transform: BatchTransform | None = None,
        read_ahead: int = 0,
    ) -> None:
        self.data, self.batch_size, self.seed, self.start = data, batch_size, seed, start
        self.batches_per_step, self.rank, self.world_size = batches_per_step, rank, world_size
        self.device = device or data.images.device
        self.transform, self.read_ahead = transform or BatchTransform(), read_ahead

    def indices(self) -> Iterator[Tensor]:
        """The rank's share of each step's images, int64 [batches_per_step * share]."""
        share = self.batch_size // self.world_size
        size = len(self.data if self.data.stream is None else self.data.stream)
        for indices in stream(self.seed, size, self.batch_size * self.batches_per_step, self.start):
            yield indices.view(self.batches_per_step, self.world_size, share)[:, self.rank].flatten()

    def __iter__(self) -> Iterator[Batch]:
        noise, position = StepNoise(mix(self.seed, Stream.TRANSFORM), self.rank, self.world_size), self.start
        for images, labels in self.gathered():
            images = images.to(self.device, non_blocking=True)
            if labels is not None:
                labels = labels.to(self.device, non_blocking=True)
            if self.transform.is_random:
                images = self.transform_parts(images, noise, position)
                position += self.batch_size * self.batches_per_step
            else:
                images = to_float(images)
            yield Batch(images, labels)

    def gathered(self) -> Iterator["Gathered"]:
        """The stored images and labels of each step."""
        if self.data.stream is None:
            return ahead(self.gather, self.indices(), self.read_ahead)
        workers, pin = self.data.stream.workers, self.device.type == "cuda"
        depth = max(self.read_ahead // workers, 1) if workers else None
        loader: DataLoader = DataLoader(
            self.data.stream,  # type: ignore[arg-type]
            batch_size=None,
            sampler=self.indices(),  # the workers' batches come back in its order
            num_workers=workers,
            pin_memory=pin,
            prefetch_factor=depth,
        )
        return iter(loader)

    def transform_parts(self, images: Tensor, noise: StepNoise, position: int) -> Tensor:
        """Each global batch with the draws of its own position, whichever step and rank it falls to."""
        parts = []
        for index, part in enumerate(images.chunk(self.batches_per_step)):
            noise.start(position + index * self.batch_size)
            parts.append(self.transform(part, noise))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stored images, and labels, at `indices`, where they are stored."""
        images, labels = self.data.images, self.data.labels
        indices = indices.to(images.device, non_blocking=True)
        chosen = images.index_select(0, indices)  # three times as fast as images[indices] on a CPU
        if self.device.type == "cuda" and not images.is_cuda:
            chosen = chosen.pin_memory()
        return chosen, None if labels is None else labels.index_select(0, indices)


Gathered = tuple[Tensor, Tensor | None]


def ahead(gather: Callable[[Tensor], Gathered], indices: Iterator[Tensor], depth: int) -> Iterator[Gathered]:
    """`gather` of each, in order, `depth` of them begun before they are asked for."""
    if depth == 0:
        yield from map(gather, indices)
        return
    pool = ThreadPoolExecutor(max_workers=min(depth, 4))  # reading and copying let go of the interpreter's lock
    try:
        waiting: deque[Future[Gathered]] = deque()
        for chosen in indices:
            waiting.append(pool.submit(gather, chosen))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_order(
    data: ImageSet, batch_size: int, device: torch.device, transform: BatchTransform | None = None, seed: int = 0
) -> Iterator[Batch]:
    """Every image once, in order: for evaluation. What is drawn is the same at every call."""
    transform, noise = transform or BatchTransform(), StepNoise(mix(seed, Stream.TEST_TRANSFORM))
    for start in range(0, len(data), batch_size):
        part = slice(start, start + batch_size)
        noise.start(start)
        labels = None if data.labels is None else data.labels[part].to(device)
        yield Batch(transform(data.images[part].to(device), noise), labels)
