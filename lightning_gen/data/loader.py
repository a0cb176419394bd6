"""Batches by index, without a Python loop over images.

The training stream consists of the permutations of epochs 0, 1, 2, ... one after the other, cut into batches. The
order within an epoch is a pure function of (seed, epoch), and a position in the stream is a number of images. So this
number is all that a run needs to resume in the middle of an epoch, and each rank takes its share of every global
batch. Random changes of a batch (flips, noise) are a pure function of (seed, position); they are drawn for the global
batch and shared in the same way.
"""

import time
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

AT_ONCE = 2**20  # bytes of images, as floats, that are gathered and converted in one operation


class Batch(NamedTuple):
    """Images float [B, C, H, W] in [0, 1], and labels int64 [B] or None."""

    images: Tensor
    labels: Tensor | None


def permutation(seed: int, epoch: int, size: int) -> Tensor:
    """The order of one epoch, int64 [size]; drawn on the CPU, so that it is the same for every device."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(mix(seed, epoch)))


def stream(seed: int, size: int, batch_size: int, start: int = 0) -> Iterator[Tensor]:
    """Endless global batches of indices, int64 [batch_size], starting at image `start` of the stream."""
    epoch, offset = divmod(start, size)
    rest = permutation(seed, epoch, size)[offset:]
    while True:
        while len(rest) < batch_size:
            epoch += 1
            rest = torch.cat([rest, permutation(seed, epoch, size)])
        yield rest[:batch_size]
        rest = rest[batch_size:]


class TrainLoader:
    """An endless iterable over this rank's share of each global batch.

    Args:
        data: the training images. batch_size: images in a global batch, over all ranks. seed: decides the order and
        all random changes. start: position in the stream, in images. batches_per_step: global batches in one item,
        one after the other; more than 1 for a GAN with `d_steps`. rank: number of this process. world_size: number of
        processes. device: where the batches go. transform: changes each batch, on the device. read_ahead: batches
        that threads gather in advance, into pinned memory if they go to a GPU; 0 if the images are
            in the memory of the device.
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
        self.seconds = 0.0  # in which training waited for batches

    def streams(self) -> "Streams":
        """For training that takes batches as it needs them: one iterator over them, again and again."""
        return Streams(self)

    def steps_at_once(self) -> int:
        """The number of steps whose images are gathered together, where each operation costs more than its work.

        It is 1 where a step's images would begin at an address that is not a multiple of 64 bytes: the result of a
        matrix product may depend on it.
        """
        images = self.data.images
        size = self.batch_size // self.world_size * self.batches_per_step * images[0].numel() * 4
        if self.data.stream is not None or self.transform.is_random or self.read_ahead or size % 64:
            return 1
        return max(AT_ONCE // size, 1)

    def indices(self, steps: int = 1) -> Iterator[Tensor]:
        """The indices of this rank's share of each `steps` steps, int64 [steps * batches_per_step * share]."""
        share, batches = self.batch_size // self.world_size, steps * self.batches_per_step
        size = len(self.data if self.data.stream is None else self.data.stream)
        for indices in stream(self.seed, size, self.batch_size * batches, self.start):
            if self.world_size > 1:
                indices = indices.view(batches, self.world_size, share)[:, self.rank].flatten()
            yield indices

    def __iter__(self) -> Iterator[Batch]:
        batches = self.batches()
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def batches(self) -> Iterator[Batch]:
        """The batches, without taking the time."""
        noise, position = StepNoise(mix(self.seed, Stream.TRANSFORM), self.rank, self.world_size), self.start
        steps = self.steps_at_once()
        for images, labels in self.gathered(steps):
            images = images.to(self.device, non_blocking=True)
            if labels is not None:
                labels = labels.to(self.device, non_blocking=True)
            if self.transform.is_random:
                images = self.transform_parts(images, noise, position)
                position += self.batch_size * self.batches_per_step
            else:
                images = to_float(images)
            parts = [None] * steps if labels is None else labels.chunk(steps)
            yield from map(Batch, images.chunk(steps), parts)

    def gathered(self, steps: int) -> Iterator["Gathered"]:
        """The stored images and labels of each `steps` steps."""
        if self.data.stream is None:
            return ahead(self.gather, self.indices(steps), self.read_ahead)
        workers, pin = self.data.stream.workers, self.device.type == "cuda"
        depth = max(self.read_ahead // workers, 1) if workers else None
        loader: DataLoader = DataLoader(
            self.data.stream,  # type: ignore[arg-type]
            batch_size=None,
            sampler=self.indices(),  # batches come back in this order
            num_workers=workers,
            pin_memory=pin,
            prefetch_factor=depth,
        )
        return iter(loader)

    def transform_parts(self, images: Tensor, noise: StepNoise, position: int) -> Tensor:
        """Transform each global batch with the noise of its position, whatever step and rank it belongs to."""
        parts = []
        for index, part in enumerate(images.chunk(self.batches_per_step)):
            noise.start(position + index * self.batch_size)
            parts.append(self.transform(part, noise))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def gather(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stored images and labels at `indices`, on the device where they are stored."""
        images, labels = self.data.images, self.data.labels
        indices = indices.to(images.device, non_blocking=True)
        chosen = images.index_select(0, indices)  # three times as fast as images[indices] on a CPU
        if self.device.type == "cuda" and not images.is_cuda:
            chosen = chosen.pin_memory()
        return chosen, None if labels is None else labels.index_select(0, indices)


class Streams:
    """An endless iterable; each item is the same iterator over the batches of a loader."""

    def __init__(self, loader: TrainLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        batches = iter(self.loader)
        while True:
            yield batches


Gathered = tuple[Tensor, Tensor | None]


def ahead(gather: Callable[[Tensor], Gathered], indices: Iterator[Tensor], depth: int) -> Iterator[Gathered]:
    """The results of `gather`, in order; threads start `depth` of them in advance."""
    if depth == 0:
        yield from map(gather, indices)
        return
    pool = ThreadPoolExecutor(max_workers=min(depth, 4))  # reading and copying release the interpreter lock
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
    """Every image once, in order, for evaluation; random changes are the same at every call."""
    transform, noise = transform or BatchTransform(), StepNoise(mix(seed, Stream.TEST_TRANSFORM))
    for start in range(0, len(data), batch_size):
        part = slice(start, start + batch_size)
        noise.start(start)
        labels = None if data.labels is None else data.labels[part].to(device)
        yield Batch(transform(data.images[part].to(device), noise), labels)
