"""Evaluate a sampler against real images: metrics, and the protocol without which they mean nothing."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gen.evaluation import distributed
from lightning_gen.evaluation.cache import content_hash
from lightning_gen.evaluation.feature_pass import (
    CHUNK,
    Sampler,
    Source,
    feature_pass,
    from_images,
    from_sampler,
    mix,
    seeded_subset,
)
from lightning_gen.evaluation.features import FeatureExtractor
from lightning_gen.evaluation.frechet import Moments, frechet_distance

log = logging.getLogger(__name__)
# Streams of the evaluation's seed that are not chunks of samples (those count from 0).
REFERENCE, OTHER, NOISE = -2, -3, -4


class SampleEvaluator:
    """Everything on the real side is computed once; each call then costs one pass over the samples.

    Args:
        extractor: the feature space.
        reference: real images, uint8 [N, C, H, W], that samples are compared with.
        other: real images that are not in ``reference``, for the floor; ``None`` leaves the floor out.
        num_samples: number n of samples. The bias of a Frechet distance depends on it, so it stays fixed.
        num_reference: size of the random subset of ``reference``; ``None`` takes all of it.
        batch_size: images in one pass of the extractor.
        seed: draws the samples' chunks and the subsets; the global generators are never touched.
        device: where the extractor runs.
        cache_dir: folder for the real side's moments, named by content; ``None`` keeps them in memory only.
        split: name of the split that ``reference`` is, for the protocol.

    Raises:
        ValueError: images that are not uint8 [N, C, H, W], or fewer than two on a side.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        reference: Tensor,
        other: Tensor | None = None,
        *,
        num_samples: int,
        num_reference: int | None = None,
        batch_size: int = CHUNK,
        seed: int = 0,
        device: torch.device | str = "cpu",
        cache_dir: Path | str | None = None,
        split: str = "test",
    ) -> None:
        for images in (reference,) if other is None else (reference, other):
            if images.dtype != torch.uint8 or images.ndim != 4 or len(images) < 2:
                raise ValueError(
                    f"expected 2 or more uint8 images [N, C, H, W], got {images.dtype} {list(images.shape)}"
                )
        if num_samples < 2:
            raise ValueError(f"evaluation.num_samples={num_samples}: a covariance needs at least 2")
        self.device = torch.device(device)
        self.extractor = extractor.to(self.device)
        self.reference, self.other = reference, other
        self.num_samples, self.seed, self.batch_size, self.split = num_samples, seed, batch_size, split
        self.num_reference = min(num_reference or len(reference), len(reference))
        self.num_floor = 0 if other is None else min(num_samples, len(other))
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.image_shape = tuple(reference.shape[1:])
        self._real: tuple[Moments, dict[str, float]] | None = None
        if other is not None and self.num_floor < num_samples:
            log.warning("the floor is over %d images, all there are, not %d", self.num_floor, num_samples)

    def __call__(self, sampler: Sampler, **context: Any) -> tuple[dict[str, float], dict[str, Any]]:
        """Draw the samples and compare them with the reference.

        Args:
            sampler: draws images in [0, 1]; in every process the same, each draws its share.
            context: what only the caller knows, for the protocol: ``ema``, ``batch_norm``, ``checkpoint``.

        Returns:
            The metrics by name and their protocol.
        """
        reference, bounds = self.real_side()
        samples = self._pass(from_sampler(sampler, self.seed), self.num_samples)
        return {self.metric: frechet_distance(samples, reference), **bounds}, self.protocol(**context)

    @property
    def metric(self) -> str:
        """``eval/fid`` for Inception alone, else ``eval/fid_<kind of extractor>``."""
        return "eval/fid" if self.extractor.kind == "inception" else f"eval/fid_{self.extractor.kind}"

    def real_side(self) -> tuple[Moments, dict[str, float]]:
        """Moments of the reference, and the two ends of the scale: other real images, and uniform noise."""
        if self._real is None:
            reference = self._real_moments(self.reference, self.num_reference, REFERENCE)
            noise = self._pass(from_sampler(self._noise, mix(self.seed, NOISE)), self.num_samples)
            bounds = {f"{self.metric}_noise": frechet_distance(noise, reference)}
            if self.other is not None:
                floor = self._real_moments(self.other, self.num_floor, OTHER)
                bounds = {f"{self.metric}_floor": frechet_distance(floor, reference), **bounds}
            self._real = reference, bounds
        return self._real

    def protocol(self, **context: Any) -> dict[str, Any]:
        """How the numbers were measured; numbers compare only where this is equal."""
        return {
            "extractor": self.extractor.name,
            "weights_hash": self.extractor.weights_hash,
            "resizer": self.extractor.resizer,
            "quantized": "uint8",
            "n_fake": self.num_samples,
            "n_real": self.num_reference,
            "n_floor": self.num_floor,
            "split": self.split,
            "seed": self.seed,
            "chunk": CHUNK,
            **context,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        }

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, *self.image_shape, generator=generator)

    def _pass(self, source: Source, n: int) -> Moments:
        return feature_pass(source, n, self.extractor, batch_size=self.batch_size, device=self.device)

    def _real_moments(self, images: Tensor, n: int, stream: int) -> Moments:
        index = seeded_subset(len(images), n, mix(self.seed, stream))
        if n == len(images):
            index = index.sort().values  # all of them: the seed does not matter, nor should the cache's key
        if self.cache_dir is None:
            return self._pass(from_images(images, index), n)
        key = content_hash(images, index, self.extractor.name, self.extractor.weights_hash)[:24]
        path = self.cache_dir / f"{self.extractor.name}-n{n}-{key}.npz"
        return cached_moments(path, lambda: self._pass(from_images(images, index), n), self.device)


def cached_moments(path: Path, compute: Callable[[], Moments], device: torch.device) -> Moments:
    """Moments from the file if every process sees it, else computed together and written by the first."""
    # All or none: ``compute`` sums over the processes and would hang if one of them stayed away.
    if distributed.all_agree(path.exists()):
        return Moments.load(path, device)
    moments = compute()
    if distributed.rank_and_world()[0] == 0:
        moments.save(path)
    return moments
