"""One pass over images, in chunks that are the same for any number of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_gen import distributed
from lightning_gen.metrics.cache import ResultCache
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import Moments
from lightning_gen.pictures import to_float, to_uint8
from lightning_gen.progress import progress
from lightning_gen.randomness import mix

CHUNK = 250
"""Images in a chunk. It is part of the protocol: chunk j is drawn from its own seed."""

Sampler = Callable[[int, torch.Generator], Tensor]
"""Draws n images, float [n, C, H, W] in [0, 1] (or uint8), with a CPU generator as the only source of chance."""

Source = Callable[[int, int], Tensor]
"""Returns the images of a chunk, given its index and size."""


def seeded_subset(total: int, n: int, seed: int) -> Tensor:
    """n numbers of ``range(total)`` without replacement. Not the first n: MNIST is not in random order."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:n]


def from_sampler(sampler: Sampler, seed: int, device: torch.device | str = "cpu") -> Source:
    """Chunks of samples; chunk j is drawn with a generator seeded by ``mix(seed, j)``; ``seed`` is a stream's."""

    def chunk(index: int, size: int) -> Tensor:
        drawn = mix(seed, index)
        with isolated_rng(torch.device(device), drawn):
            images = sampler(size, torch.Generator().manual_seed(drawn))
        if len(images) != size:
            raise ValueError(f"the sampler gave {len(images)} images where {size} were asked for")
        return images

    return chunk


def from_images(images: Tensor, index: Tensor) -> Source:
    """Chunks of the images [N, C, H, W] at ``index`` [n]."""

    def chunk(number: int, size: int) -> Tensor:
        rows = index[number * CHUNK : number * CHUNK + size]
        return images[rows.to(images.device)]

    return chunk


def my_chunks(n: int) -> Iterator[tuple[int, int]]:
    """Index and size of this process's chunks of n images: every world_size-th chunk."""
    rank, world = distributed.rank_and_world()
    for index in range(rank, -(-n // CHUNK), world):
        yield index, min(CHUNK, n - index * CHUNK)


@contextlib.contextmanager
def isolated_rng(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global generators inside the block, and restore them afterwards."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        # Not torch.manual_seed, which would seed the generators of all GPUs.
        torch.random.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@dataclass
class FeatureSet:
    """The result of one pass over a set of images.

    Attributes:
        moments: of the features; always computed, in constant memory.
        features: float32 [n, d] on the extractor's device, or ``None``.
        images: uint8 [n, C, H, W] on the CPU, or ``None``.
    """

    moments: Moments
    features: Tensor | None = None
    images: Tensor | None = None


@torch.no_grad()
def feature_pass(
    source: Source,
    n: int,
    extractor: FeatureExtractor,
    *,
    keep: Collection[str] = (),
    batch_size: int = CHUNK,
    device: torch.device | str = "cpu",
    doing: str = "computing features",
) -> FeatureSet:
    """One pass over n images, shared among all processes; each of them gets the whole result.

    Images are rounded to 8 bits first, as real images are: a sample counts as if it had been written to a file.

    Args:
        source: returns the images of a chunk.
        n: number of images.
        extractor: on ``device``.
        keep: any of ``features`` and ``images``; if neither is kept, memory does not grow with n.
        batch_size: images in one pass of the extractor.
        device: where the extractor runs.
        doing: what is said if it takes long.
    """
    moments = Moments.empty(extractor.num_features, device)
    features = torch.zeros(n, extractor.num_features, device=device) if "features" in keep else None
    kept_images: Tensor | None = None
    world = distributed.rank_and_world()[1]
    with progress(n, doing) as advance:
        for index, size in my_chunks(n):
            start = index * CHUNK
            images = to_uint8(source(index, size))
            if "images" in keep:
                if kept_images is None:
                    kept_images = torch.zeros(n, *images.shape[1:], dtype=torch.uint8)
                kept_images[start : start + size] = images.cpu()
            for part in images.split(batch_size):
                values = extractor(to_float(part.to(device)))
                moments.update(values)
                if features is not None:
                    features[start : start + len(part)] = values
                start += len(part)
            advance(size * world)
    return _gather(FeatureSet(moments, features, kept_images), "images" in keep, source, n)


def real_set(
    cache: ResultCache,
    images: Tensor,
    images_hash: str,
    index: Tensor,
    extractor: FeatureExtractor,
    keep: Collection[str],
    batch_size: int = CHUNK,
) -> FeatureSet:
    """``feature_pass`` over the real images [N, C, H, W] at ``index`` [n], from the cache if it has the features."""
    with_features = "features" in keep
    wanted = ("features",) if with_features else ()

    def compute() -> dict[str, Tensor]:
        source = from_images(images, index)
        options: dict[str, Any] = {"keep": wanted, "batch_size": batch_size, "device": cache.device}
        made = feature_pass(source, len(index), extractor, doing="evaluation: features of real images", **options)
        features = {} if made.features is None else {"features": made.features}
        return {"sum": made.moments.sum, "outer": made.moments.outer, **features}

    key: list[Tensor | str] = [images_hash, index, *extractor.protocol().values(), str(batch_size)]
    found = cache(f"{extractor.name}-n{len(index)}-{'features' if with_features else 'moments'}", key, compute)
    moments = Moments.empty(extractor.num_features, cache.device)
    moments.n = len(index)
    moments.sum.copy_(found["sum"])
    moments.outer.copy_(found["outer"])
    kept = images[index.to(images.device)].cpu() if "images" in keep else None
    return FeatureSet(moments, found["features"].to(cache.device) if with_features else None, kept)


def _gather(mine: FeatureSet, with_images: bool, source: Source, n: int) -> FeatureSet:
    # Each row is zero in all processes but one, so the sum is exact.
    mine.moments.all_reduce()
    if mine.features is not None:
        distributed.all_reduce_sum(mine.features)
    if with_images:
        if mine.images is None:  # this process had no chunk, but needs the shape
            mine.images = torch.zeros(n, *to_uint8(source(0, 1)).shape[1:], dtype=torch.uint8)
        distributed.all_reduce_sum(mine.images)
    return mine
