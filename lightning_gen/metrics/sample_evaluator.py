"""Evaluate a sampler against real images: metrics, and the protocol without which they mean nothing."""

from __future__ import annotations

import logging
import platform
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.files import content_hash
from lightning_gen.metrics.feature_pass import (
    CHUNK,
    FeatureSet,
    Sampler,
    Source,
    feature_pass,
    from_images,
    from_sampler,
    seeded_subset,
)
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import cached_moments, frechet_distance
from lightning_gen.metrics.memorization import neighbour_picture
from lightning_gen.metrics.set_metrics import METRICS, Comparison
from lightning_gen.randomness import Stream, mix

log = logging.getLogger(__name__)
SAMPLES, REAL, UNIFORM = "samples", "other real images", "uniform noise"  # what is compared with the reference

Number = tuple[float, dict[str, Any]]  # a value and its protocol


class SampleEvaluator:
    """Everything on the real side is computed once; each call then costs one pass over the samples.

    Args:
        extractor: the feature space.
        reference: real images, uint8 [N, C, H, W], that samples are compared with.
        other: real images that are not in ``reference``, for the floor; ``None`` leaves the floor out.
        num_samples: number n of samples. The bias of a Frechet distance depends on it, so it stays fixed.
        metrics: names from ``METRICS``; ``fid`` alone keeps memory constant in n.
        num_reference: size of the random subset of ``reference``; ``None`` takes all of it.
        reference_labels: classes int64 [N], for ``tstr``.
        other_labels: classes of ``other``, likewise.
        batch_size: images in one pass of the extractor.
        seed: draws the samples' chunks and the subsets; the global generators are never touched.
        device: where the extractor runs.
        cache_dir: folder for the real side's moments, named by content; ``None`` keeps them in memory only.
        split: which split ``reference`` is. If it is ``train`` then ``other`` is held out, else the reverse.

    Raises:
        ValueError: images that are not uint8 [N, C, H, W], or fewer than two on a side.
        UserError: a metric that is unknown, or that cannot be had here.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        reference: Tensor,
        other: Tensor | None = None,
        *,
        num_samples: int,
        metrics: Sequence[str] = ("fid",),
        num_reference: int | None = None,
        reference_labels: Tensor | None = None,
        other_labels: Tensor | None = None,
        batch_size: int = CHUNK,
        seed: int = 0,
        device: torch.device | str = "cpu",
        cache_dir: Path | str | None = None,
        split: str = "test",
    ) -> None:
        self.device = torch.device(device)
        self.extractor = extractor.to(self.device)
        self.reference, self.other = reference, other
        self.labels = (reference_labels, other_labels)
        self.num_samples, self.seed, self.batch_size, self.split = num_samples, seed, batch_size, split
        self.metrics = tuple(metrics)
        self._check()
        chosen = [METRICS[name] for name in self.metrics]
        self.keep = frozenset[str]().union(*(metric.keep for metric in chosen))
        self.keep_fake = self.keep.union(*(metric.keep_fake or () for metric in chosen))
        self.num_reference = min(num_reference or len(reference), len(reference))
        self.num_floor = 0 if other is None else min(num_samples, len(other))
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._real: tuple[Comparison, dict[str, Number]] | None = None
        if other is not None and self.num_floor < num_samples:
            log.warning("the floor is over %d images, all there are, not %d", self.num_floor, num_samples)

    def __call__(self, sampler: Sampler, **context: Any) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
        """Draw the samples and compare them with the reference.

        Args:
            sampler: draws images in [0, 1]; in every process the same, each draws its share.
            context: what only the caller knows, for the protocols: ``ema``, ``batch_norm``, ``checkpoint``.

        Returns:
            The metrics by name, and the protocol of each.
        """
        real, bounds = self.real_side()
        source = from_sampler(sampler, mix(self.seed, Stream.SAMPLES), self.device)
        self.fake_features = self._pass(source, self.num_samples, self.keep_fake)
        numbers = (
            self._measure(self.metrics, replace(real, fake=self.fake_features), SAMPLES, self.num_samples) | bounds
        )
        context["versions"] = versions()
        values = {f"eval/{name}": value for name, (value, _) in numbers.items()}
        return values, {f"eval/{name}": {**protocol, **context} for name, (_, protocol) in numbers.items()}

    def distance(self, source: Source, n: int, images: str) -> Number:
        """The Frechet distance of n images of a source from the reference, and how it was measured."""
        real, _ = self.real_side()
        value = frechet_distance(self._pass(source, n).moments, real.reference.moments)
        return value, self.protocol("fid", images, n)

    def real_side(self) -> tuple[Comparison, dict[str, Number]]:
        """The real sets, and the ends of the scale: other real images (floor) and uniform noise."""
        if self._real is None:
            reference = self._real_set(self.reference, self.num_reference, Stream.REFERENCE, self.keep)
            comparison = Comparison(reference, reference, self.extractor, self.seed)
            if self.labels[0] is not None:
                comparison.labels["reference"] = self.labels[0].cpu()
            bounds: dict[str, Number] = {}
            if self.other is not None:
                floor = replace(comparison, fake=self._real_set(self.other, self.num_floor, Stream.FLOOR, self.keep))
                with_floor = [name for name in self.metrics if METRICS[name].floor]
                bounds |= self._measure(with_floor, floor, REAL, self.num_floor, "_floor")
            if "fid" in self.metrics:
                noise = self._pass(from_sampler(self._noise, mix(self.seed, Stream.UNIFORM)), self.num_samples)
                bounds |= self._measure(["fid"], replace(comparison, fake=noise), UNIFORM, self.num_samples, "_noise")
            self._add_splits(comparison)
            self._real = comparison, bounds
        return self._real

    def neighbour_picture(self, rows: int = 10) -> Tensor:
        """The first samples of the last call, each followed by its three nearest training images.

        Only with the metric ``memorization``.

        Returns:
            uint8 [rows * 4, C, H, W].
        """
        train = self.real_side()[0].real["train"]
        fake = self.fake_features
        if fake.images is None or fake.features is None or train.images is None or train.features is None:
            raise ValueError("a picture of the nearest neighbours needs the metric 'memorization'")
        return neighbour_picture(fake.images[:rows], fake.features[:rows], train.images, train.features)

    def protocol(self, metric: str, images: str = SAMPLES, n: int | None = None) -> dict[str, Any]:
        """How a number is measured; numbers compare only where this is equal."""
        trains = "train" in METRICS[metric].needs and self.other is not None
        train = self.reference if self.split == "train" else self.other
        return {
            "metric": metric,
            **self.extractor.protocol(),
            "quantized": "uint8",
            "images": images,
            "n_fake": self.num_samples if n is None else n,
            "n_real": self.num_reference,
            **({"n_train": len(train)} if trains and train is not None else {}),
            "split": self.split,
            "real_hash": self.real_hash,
            "seed": self.seed,
            "chunk": CHUNK,
            "settings": METRICS[metric].settings,
        }

    @cached_property
    def real_hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the reference images."""
        return content_hash(self.reference)[:12]

    def _measure(
        self, metrics: Sequence[str], comparison: Comparison, images: str, n: int, suffix: str = ""
    ) -> dict[str, Number]:
        found: dict[str, Number] = {}
        for metric in metrics:
            protocol = self.protocol(metric, images, n)
            values = METRICS[metric].compute(comparison)
            found |= {f"{name}{suffix}": (value, protocol) for name, value in values.items()}
        return found

    def _check(self) -> None:
        for images in (self.reference,) if self.other is None else (self.reference, self.other):
            if images.dtype != torch.uint8 or images.ndim != 4 or len(images) < 2:
                raise ValueError(
                    f"expected 2 or more uint8 images [N, C, H, W], got {images.dtype} {list(images.shape)}"
                )
        if self.num_samples < 2:
            raise UserError(f"evaluation.num_samples={self.num_samples}: a covariance needs at least 2")
        for name in self.metrics:
            if name not in METRICS:
                known = ", ".join(METRICS)
                raise UserError(f"evaluation.metrics: no metric {name!r}, only {known}.{did_you_mean(name, METRICS)}")
            needs = METRICS[name].needs
            if "classes" in needs and not hasattr(self.extractor, "logits_from_features"):
                raise UserError(
                    f"evaluation.metrics: {name} needs an extractor that classifies, not {self.extractor.name}"
                )
            if "train" in needs and self.other is None:
                raise UserError(f"evaluation.metrics: {name} needs both training and held-out images")
            if "labels" in needs and any(labels is None for labels in self.labels):
                raise UserError(f"evaluation.metrics: {name} needs class labels, which this data set lacks")

    def _add_splits(self, comparison: Comparison) -> None:
        """All training images and, at most n of them, held-out ones: for the metrics that ask."""
        if not any("train" in METRICS[name].needs for name in self.metrics) or self.other is None:
            return
        keep = self.keep
        sides = [(self.reference, self.labels[0]), (self.other, self.labels[1])]
        train, held_out = sides if self.split == "train" else sides[::-1]
        pick = seeded_subset(len(held_out[0]), self.num_samples, mix(self.seed, Stream.FLOOR)).sort().values
        everything = torch.arange(len(train[0]))
        for name, (images, labels), index in (("train", train, everything), ("held_out", held_out, pick)):
            comparison.real[name] = self._pass(from_images(images, index), len(index), keep)
            if labels is not None:
                comparison.labels[name] = labels.cpu()[index]

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, *self.reference.shape[1:], generator=generator)

    def _pass(self, source: Source, n: int, keep: Collection[str] = ()) -> FeatureSet:
        return feature_pass(source, n, self.extractor, keep=keep, batch_size=self.batch_size, device=self.device)

    def _real_set(self, images: Tensor, n: int, stream: Stream, keep: Collection[str]) -> FeatureSet:
        index = seeded_subset(len(images), n, mix(self.seed, stream))
        if n == len(images):
            index = index.sort().values  # all of them: the seed does not matter, nor should the cache's key
        source = from_images(images, index)
        if self.cache_dir is None or keep:  # the cache holds moments only
            return self._pass(source, n, keep)
        key = content_hash(images, index, self.extractor.name, self.extractor.weights_hash)[:24]
        path = self.cache_dir / f"{self.extractor.name}-n{n}-{key}.npz"
        return FeatureSet(cached_moments(path, lambda: self._pass(source, n).moments, self.device))


@lru_cache
def versions() -> dict[str, str]:
    """The versions of what computes the numbers."""
    found = {"python": platform.python_version()}
    for package in ("lightning-gen", "torch", "torchmetrics", "torch-fidelity", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
