"""One pass over images, in chunks that do not depend on the number of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lightning_gen.evaluation import distributed
from lightning_gen.evaluation.features import FeatureExtractor, to_float, to_uint8
from lightning_gen.evaluation.frechet import Moments

CHUNK = 250
"""Images in a chunk. It is part of the protocol: chunk j is drawn from its own seed."""

Sampler = Callable[[int, torch.Generator], Tensor]
"""Draws n images, float [n, C, H, W] in [0, 1] (or uint8), from a CPU generator and no other chance."""

Source = Callable[[int, int], Tensor]
"""Gives the images of chunk (index, size)."""


def mix(seed: int, index: int) -> int:
    """A well-spread 63-bit seed for stream ``index`` of ``seed`` (SplitMix64; Steele, Lea & Flood 2014)."""
    mask = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1342543DE82EF95) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1


def seeded_subset(total: int, n: int, seed: int) -> Tensor:
    """n of ``range(total)``, at random without replacement. Never a prefix: MNIST's order is not i.i.d."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:n]


def from_sampler(sampler: Sampler, seed: int) -> Source:
    """Chunks of samples; chunk j comes from a generator seeded with ``mix(seed, j)``."""

    def chunk(index: int, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix(seed, index))
        images = sampler(size, generator)
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
    """(index, size) of the chunks of n images that fall to this process: every world-th one."""
    rank, world = distributed.rank_and_world()
    for index in range(rank, -(-n // CHUNK), world):
        yield index, min(CHUNK, n - index * CHUNK)


@contextlib.contextmanager
def isolated_rng(device: torch.device, seed: int) -> Iterator[None]:
    """Whatever is drawn from the global generators inside is seeded, and they come out as they went in."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        # Not torch.manual_seed: it would seed the generators of all GPUs.
        torch.random.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@torch.no_grad()
def feature_pass(
    source: Source,
    n: int,
    extractor: FeatureExtractor,
    *,
    batch_size: int = CHUNK,
    device: torch.device | str = "cpu",
) -> Moments:
    """Moments of the features of n images, summed over all processes.

    Images are brought to 8 bits first, as the real ones are: a sample counts as what its file would hold.
    """
    device = torch.device(device)
    moments = Moments.empty(extractor.num_features, device)
    for index, size in my_chunks(n):
        with isolated_rng(device, mix(n, index)):
            images = to_uint8(source(index, size))
        for part in images.split(batch_size):
            moments.update(extractor(to_float(part.to(device))))
    moments.all_reduce()
    return moments
