"""Metrics of held-out images: the model's own, and how well its codes separate the classes."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.metrics.cache import ResultCache
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.probing import PCA, cluster_quality
from lightning_gen.metrics.protocol import Metrics, Numbers, numbers
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import Codes, codes_of, in_precision
from lightning_gen.randomness import StepNoise, Stream, mix

PCA_PIXELS = 1024  # for larger images the decomposition of the covariance takes minutes


class HeldOut:
    """Evaluates models on the held-out images of `data`; every process computes the same numbers.

    `count`: the size of a random subset of them, drawn by `seed`; None: all. `cache` keeps the error of PCA, which
    depends on the images only. `pca`: measure that error; it depends on training images.
    """

    def __init__(
        self,
        data: ImageDataModule,
        cache: ResultCache | None = None,
        count: int | None = None,
        seed: int = 0,
        pca: bool = True,
    ) -> None:
        self.data, self.cache, self.seed, self.pca = data, cache or ResultCache(None), seed, pca
        self.chosen: Tensor | None = None  # the numbers of the images, in order; None: all
        if count is not None and count < len(data.test):
            self.chosen = seeded_subset(len(data.test), count, mix(seed, Stream.HELD_OUT)).sort().values
        self._pca_errors: dict[int, float] = {}  # by the number of components

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.data.test) if self.chosen is None else len(self.chosen)

    def __call__(self, model: GenerativeModel, context: dict[str, Any], codes: Codes | None = None) -> Numbers:
        """The model's own metrics and those of its codes; `context` is added to the protocol of each."""
        whole = model.held_out_metrics(lambda: self.batches(model))
        values = self.means(model) | whole | self.code_metrics(codes or self.codes(model))
        how: dict[str, Any] = {"images": "held-out images", "n_real": self.count, "split": "test"}
        if self.chosen is not None:
            how["seed"] = self.seed
        return numbers(values, **how, **context)

    def means(self, model: GenerativeModel) -> Metrics:
        """The means over images of the model's metrics of single images.

        Every process computes them all, so that processes need not agree on the names of metrics.
        """
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        for index, batch in enumerate(self.batches(model)):
            noise = StepNoise(mix(model.seed, Stream.TEST))
            noise.start(index)
            for name, values in model.test_metrics(batch, noise).items():
                sums[name] = sums[name] + values.double().sum().cpu()
        return {name: float(total) / self.count for name, total in sums.items()}

    def codes(self, model: GenerativeModel) -> Codes | None:
        """The codes of the held-out images and their labels; None for models that do not both encode and sample."""
        if not (model.can_encode and model.can_sample):
            return None
        return codes_of(model, self.batches(model))

    def code_metrics(self, found: Codes | None) -> Metrics:
        """How clusters of codes agree with the classes, and the error of a PCA with as many dimensions."""
        if found is None:
            return {}
        codes, labels = found
        metrics: Metrics = {}
        if labels is not None and len(codes) >= self.data.num_classes:
            metrics |= cluster_quality(codes, labels, self.data.num_classes)
        if self.pca and codes.shape[1] < self.data.test.images[0].numel() <= PCA_PIXELS:
            metrics["squared_error_pca"] = self.pca_error(codes.shape[1])
        return metrics

    def pca_error(self, width: int) -> float:
        """The squared error of `width` principal components that are fitted to training images; computed once."""
        if width not in self._pca_errors:
            train, test = self.data.train.images, self.data.test.images
            test = test if self.chosen is None else test[self.chosen]
            found = self.cache(
                f"pca-{width}", [train, test], lambda: {"squared_error": PCA(train, width).squared_error(test)}
            )
            self._pca_errors[width] = float(found["squared_error"])
        return self._pca_errors[width]

    def batches(self, model: GenerativeModel) -> Iterator[Batch]:
        """The held-out images, in order."""
        return in_precision(model, self.data.test_batches(model.device, chosen=self.chosen))
