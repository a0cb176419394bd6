"""Batches by Poisson sampling: each image is in a batch with the same probability, independently of all others."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch, TrainLoader
from lightning_gen.randomness import StepNoise, Stream, mix


class PoissonBatch(NamedTuple):
    """One or more batches, one after the other: images, labels, and the number of images in each, which may be 0."""

    images: Tensor  # float [B, C, H, W] in [0, 1]
    labels: Tensor | None  # int64 [B]
    sizes: tuple[int, ...]


def poisson_sample(seed: int, number: int, size: int, rate: float) -> Tensor:
    """The images of batch `number`, int64 [B] in order; B has the mean `rate` * `size`."""
    generator = torch.Generator().manual_seed(mix(mix(seed, Stream.PRIVACY_SAMPLING), number))
    return (torch.rand(size, generator=generator, dtype=torch.float64) < rate).nonzero().flatten()


class PoissonLoader(TrainLoader):
    """An endless iterable over batches with `batch_size` images in the mean, for DP-SGD on one device.

    Which images are in a batch is a pure function of (secret, number of the batch), and the stream's position counts
    `batch_size` images for each batch, so a run resumes from its number of images as with `TrainLoader`.

    Args:
        secret: the seed of the sampling; who knows it knows which images were used when.
        others: the arguments of `TrainLoader`; images are gathered when they are needed.
    """

    def __init__(self, *args: Any, secret: int, **others: Any) -> None:
        super().__init__(*args, **others)
        self.secret = secret

    def steps_at_once(self) -> int:
        return 1

    def batches(self) -> Iterator[Batch]:
        noise, number = StepNoise(mix(self.seed, Stream.TRANSFORM)), self.start // self.batch_size
        size = len(self.data)
        while True:
            parts: list[tuple[Tensor, Tensor | None]] = []
            for _ in range(self.batches_per_step):
                images, labels = self.gather(poisson_sample(self.secret, number, size, self.batch_size / size))
                noise.start(number * self.batch_size)
                labels = None if labels is None else labels.to(self.device)
                parts.append((self.transform(images.to(self.device), noise), labels))
                number += 1
            labels = None if parts[0][1] is None else torch.cat([labels for _, labels in parts if labels is not None])
            images = torch.cat([images for images, _ in parts])
            yield PoissonBatch(images, labels, tuple(len(images) for images, _ in parts))  # type: ignore[misc]
