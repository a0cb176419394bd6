"""Compares samples with real images: metrics, and the protocol of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.files import content_hash
from lightning_gen.metrics.cache import Arrays, ResultCache
from lightning_gen.metrics.comparison import Comparison, Metric, check, check_memory
from lightning_gen.metrics.feature_pass import (
    CHUNK,
    FeatureSet,
    Sampler,
    Source,
    feature_pass,
    from_sampler,
    real_set,
    seeded_subset,
)
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import frechet_distance
from lightning_gen.metrics.memorization import neighbour_picture
from lightning_gen.metrics.protocol import Numbers, versions
from lightning_gen.metrics.set_metrics import METRICS, named_metrics
from lightning_gen.pictures import Picture
from lightning_gen.randomness import Stream, mix

log = logging.getLogger(__name__)
SAMPLES, REAL, UNIFORM = (
    "samples",
    "other real images",
    "uniform noise",
)  # compared with the reference

Number = tuple[float, dict[str, Any]]  # a value and its protocol


class SampleEvaluator:
    """Compares the samples of models with real images.

    All results of real images are computed once. After that a call costs one pass over the samples.

    Args:
        extractor: the feature extractor.
        reference: the real images to compare with, uint8 [N, C, H, W].
        other: real images that are not in ``reference``, for the floor; ``None``: no floor.
        num_samples: the number n of samples. The bias of a Frechet distance depends on n, so it is fixed.
        metrics: names from ``METRICS``, or metrics by name. With ``fid`` alone memory does not grow with n.
        num_reference: the size of a random subset of ``reference``; ``None``: all of it.
        reference_labels: classes, int64 [N], for metrics that need labels.
        other_labels: the classes of ``other``.
        batch_size: the number of images in one pass of the extractor.
        seed: the seed of samples and of random subsets. The global random generators are not used.
        device: where the extractor runs.
        cache_dir: a folder for results of real images, named by content; ``None``: in memory only.
        split: the split of ``reference``. With ``train``, ``other`` is held out; otherwise ``other`` is for training.

    Raises:
        ValueError: a set that is not uint8 [N, C, H, W], or has fewer than two images.
        UserError: a metric that is unknown or not available.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        reference: Tensor,
        other: Tensor | None = None,
        *,
        num_samples: int,
        metrics: Sequence[str] | Mapping[str, Metric] = ("fid",),
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
        self.metrics = dict(metrics) if isinstance(metrics, Mapping) else named_metrics(metrics)
        self.num_reference = min(num_reference or len(reference), len(reference))
        self.num_floor = 0 if other is None else min(num_samples, len(other))
        self._check()
        self.keep = frozenset[str]().union(*(metric.keep for metric in self.metrics.values()))
        self.keep_fake = self.keep.union(*(metric.keep_fake or () for metric in self.metrics.values()))
        self.cache = ResultCache(cache_dir, self.device)
        self.fake: FeatureSet | None = None  # of the last call
        self._hashes: dict[str, str] = {}
        if other is not None and self.num_floor < num_samples:
            log.warning("the floor has only %d images, not %d: there are no more", self.num_floor, num_samples)

    def __call__(self, sampler: Sampler, **context: Any) -> Numbers:
        """Draw the samples and compare them with the reference.

        Args:
            sampler: draws images in [0, 1]. It must be the same in every process; each draws a share.
            context: added to the protocols, such as ``ema``, ``batch_norm`` and ``checkpoint``.

        Returns:
            The metrics by name and the protocol of each.
        """
        real, bounds = self.real, self.bounds
        source = from_sampler(sampler, mix(self.seed, Stream.SAMPLES), self.device)
        self.fake = self._pass(source, self.num_samples, self.keep_fake)
        found = self._measure(self.metrics, replace(real, fake=self.fake), SAMPLES, self.num_samples) | bounds
        context["versions"] = versions()
        values = {f"eval/{name}": value for name, (value, _) in found.items()}
        return values, {f"eval/{name}": {**protocol, **context} for name, (_, protocol) in found.items()}

    @property
    def distance_name(self) -> str:
        """The name of the Frechet distance with this extractor, for example ``eval/fid_classifier``."""
        return f"eval/{self.extractor.metric_name('fid')}"

    def distance(self, source: Source, n: int, images: str) -> Number:
        """The Frechet distance of n images of a source from the reference, and its protocol."""
        value = frechet_distance(self._pass(source, n).moments, self.real.reference.moments)
        return value, self.protocol("fid", METRICS["fid"], images, n)

    # -- real images -----------------------------------------------------------------------------------------

    @cached_property
    def real(self) -> Comparison:
        """The sets of real images that samples are compared with."""
        reference = self._real_set(self.reference, self._chosen(self.reference, self.num_reference, Stream.REFERENCE))
        comparison = Comparison(reference, reference, self.extractor, self.seed, store=self._stored)
        if self.labels[0] is not None:
            comparison.labels["reference"] = self.labels[0].cpu()
        if self.other is not None and any("train" in metric.needs for metric in self.metrics.values()):
            self._add_splits(comparison, self.other)
        return comparison

    @cached_property
    def bounds(self) -> dict[str, Number]:
        """The metrics of other real images (``_floor``) and of uniform noise (``_noise``): the ends of the scale."""
        found: dict[str, Number] = {}
        if self.other is not None:
            other, chosen = self.other, self._chosen(self.other, self.num_floor, Stream.FLOOR)
            with_floor = [name for name, metric in self.metrics.items() if metric.floor]
            floor = cache(lambda: self._real_set(other, chosen))
            found |= self._bound(with_floor, floor, REAL, self.num_floor, "_floor")
        if "fid" in self.metrics:
            uniform = from_sampler(self._noise, mix(self.seed, Stream.UNIFORM))
            noise = cache(lambda: self._pass(uniform, self.num_samples, doing="evaluation: features of noise"))
            found |= self._bound(["fid"], noise, UNIFORM, self.num_samples, "_noise")
        return found

    @cached_property
    def real_hash(self) -> str:
        """The first 12 hex digits of the SHA-256 hash of the reference images."""
        return self._hash(self.reference)[:12]

    def _add_splits(self, comparison: Comparison, other: Tensor) -> None:
        """Add all training images and at most n held-out images, for the metrics that need them."""
        sides = [(self.reference, self.labels[0]), (other, self.labels[1])]
        train, held_out = sides if self.split == "train" else sides[::-1]
        pick = seeded_subset(len(held_out[0]), self.num_samples, mix(self.seed, Stream.FLOOR)).sort().values
        everything = torch.arange(len(train[0]))
        for name, (images, labels), index in (("train", train, everything), ("held_out", held_out, pick)):
            comparison.real[name] = self._real_set(images, index)
            if labels is not None:
                comparison.labels[name] = labels.cpu()[index]

    def _chosen(self, images: Tensor, n: int, stream: Stream) -> Tensor:
        """Indices [n] of a random subset; all images are in order, so that every seed has the same cache key."""
        index = seeded_subset(len(images), n, mix(self.seed, stream))
        return index.sort().values if n == len(images) else index

    def _real_set(self, images: Tensor, index: Tensor) -> FeatureSet:
        return real_set(self.cache, images, self._hash(images), index, self.extractor, self.keep, self.batch_size)

    def _hash(self, images: Tensor) -> str:
        """The SHA-256 of the reference or of the other images, computed once."""
        which = "reference" if images is self.reference else "other"
        if which not in self._hashes:
            self._hashes[which] = content_hash(images)
        return self._hashes[which]

    def _stored(self, name: str, compute: Callable[[], Arrays]) -> dict[str, Tensor]:
        """A result that only the real images and the protocol decide, from the cache."""
        hashes = [self._hash(images) for images in (self.reference, self.other) if images is not None]
        numbers = (self.num_samples, self.num_reference, self.seed, self.batch_size)
        key = [*hashes, *self.extractor.protocol().values(), self.split, *map(str, numbers)]
        return self.cache(f"{self.extractor.name}-{name}", key, compute)

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, *self.reference.shape[1:], generator=generator)

    # -- measuring -------------------------------------------------------------------------------------------

    def pictures(self, count: int = 10) -> dict[str, Picture]:
        """Pictures of the last call.

        With the metric ``memorization`` there is ``neighbours``: the first samples, each with its three nearest
        training images.
        """
        if "memorization" not in self.metrics or self.fake is None:
            return {}
        fake, train = self.fake, self.real.real["train"]
        parts = (fake.images, fake.features, train.images, train.features)
        fake_images, fake_features, images, features = (cast(Tensor, part) for part in parts)
        return {"neighbours": neighbour_picture(fake_images[:count], fake_features[:count], images, features)}

    def protocol(self, name: str, metric: Metric, images: str = SAMPLES, n: int | None = None) -> dict[str, Any]:
        """How a number is measured. Numbers can be compared only if this is equal."""
        train = self.reference if self.split == "train" else self.other
        return {
            "metric": name,
            **self.extractor.protocol(),
            "quantized": "uint8",
            "images": images,
            "n_fake": self.num_samples if n is None else n,
            "n_real": self.num_reference,
            **({"n_train": len(train)} if "train" in metric.needs and train is not None else {}),
            "split": self.split,
            "real_hash": self.real_hash,
            "seed": self.seed,
            "chunk": CHUNK,
            "settings": metric.settings,
        }

    def _measure(self, names: Iterable[str], comparison: Comparison, images: str, n: int) -> dict[str, Number]:
        found: dict[str, Number] = {}
        for name in names:
            protocol = self.protocol(name, self.metrics[name], images, n)
            found |= {key: (value, protocol) for key, value in self._values(name, comparison).items()}
        return found

    def _bound(
        self, names: Iterable[str], fake: Callable[[], FeatureSet], images: str, n: int, suffix: str
    ) -> dict[str, Number]:
        """The metrics of real images or noise in place of samples; those of this package from the cache."""
        found: dict[str, Number] = {}
        for name in names:
            metric = self.metrics[name]
            compute = partial(lambda name: self._values(name, replace(self.real, fake=fake())), name)
            own = metric is not METRICS.get(name)  # of the user: its code may change
            values = compute() if own else self._stored(f"{name}{suffix}", compute)
            protocol = self.protocol(name, metric, images, n)
            found |= {f"{key}{suffix}": (float(value), protocol) for key, value in values.items()}
        return found

    def _values(self, name: str, comparison: Comparison) -> dict[str, float]:
        values = self.metrics[name].compute(comparison)
        several = values if isinstance(values, Mapping) else {name: values}
        return {key: float(value) for key, value in several.items()}

    def _pass(
        self, source: Source, n: int, keep: Collection[str] = (), doing: str = "evaluation: drawing samples"
    ) -> FeatureSet:
        options: dict[str, Any] = {"keep": keep, "batch_size": self.batch_size, "device": self.device}
        return feature_pass(source, n, self.extractor, doing=doing, **options)

    def _check(self) -> None:
        for images in (self.reference,) if self.other is None else (self.reference, self.other):
            if images.dtype != torch.uint8 or images.ndim != 4:
                raise ValueError(f"expected uint8 images [N, C, H, W], got {images.dtype} {list(images.shape)}")
            if len(images) < 2:
                raise UserError(
                    f"an evaluation needs 2 or more images in the training split and in the test split; one of them "
                    f"has {len(images)}: use more images."
                )
        if self.num_samples < 2:
            raise UserError(f"evaluation.num_samples={self.num_samples}: set it to 2 or more, for a covariance.")
        check_memory(self.metrics, self.extractor.num_features, self.reference[0].numel(), self.num_samples)
        real = min(self.num_reference, len(self.reference) if self.other is None else self.num_floor)
        has_labels = all(labels is not None for labels in self.labels)
        for name, metric in self.metrics.items():
            check(name, metric, self.extractor, (self.num_samples, real), self.other is not None, has_labels)
