"""Metrics of held-out images: the model's own, beside those of training images, and how codes separate classes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.words import IMAGES
from lightning_gen.metrics.cache import ResultCache
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.overfitting import logits_gap
from lightning_gen.metrics.probing import PCA, cluster_quality
from lightning_gen.metrics.protocol import Metrics, Numbers, numbers
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import Codes, codes_of, in_precision
from lightning_gen.randomness import StepNoise, Stream, mix

PCA_PIXELS = 1024  # for larger images the decomposition of the covariance takes minutes


class HeldOut:
    """Evaluates models on the held-out images of `data`; every process computes the same numbers.

    The metrics that show overfitting are measured in the same way on as many training images, or on all if there are
    fewer.

    `count`: the size of a random subset of them, drawn by `seed`; None: all. `cache` keeps the error of PCA, which
    depends on the images only. `of_training`: measure what depends on training images; False for private training.
    """

    def __init__(
        self,
        data: ImageDataModule,
        cache: ResultCache | None = None,
        count: int | None = None,
        seed: int = 0,
        of_training: bool = True,
    ) -> None:
        self.data, self.cache, self.seed, self.of_training = data, cache or ResultCache(None), seed, of_training
        self.chosen: Tensor | None = None  # the numbers of the images, in order; None: all
        if count is not None and count < len(data.test):
            self.chosen = seeded_subset(len(data.test), count, mix(seed, Stream.HELD_OUT)).sort().values
        seen = min(self.count, len(data.train))  # a subset is drawn even of all, which are then in their order
        self.seen = seeded_subset(len(data.train), seen, mix(seed, Stream.SEEN)).sort().values
        self._pca_errors: dict[int, float] = {}  # by the number of components

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.data.test) if self.chosen is None else len(self.chosen)

    def __call__(self, model: GenerativeModel, context: dict[str, Any], codes: Codes | None = None) -> Numbers:
        """The model's own metrics and those of its codes; `context` is added to the protocol of each."""
        whole = model.held_out_metrics(lambda: self.batches(model))
        values = self.means(model) | whole | self.code_metrics(codes or self.codes(model))
        means = self.means_of_training(model) if self.of_training else {}
        seen = {f"{name}_train": value for name, value in means.items()}
        values |= logits_gap(values | seen)
        own = {} if self.chosen is None else {"seed": self.seed}
        unit = IMAGES if self.data.table is None else self.data.unit  # points are `images` here, as always
        how = {"images": f"held-out {unit}", "n_real": self.count, "split": "test", **own, **context}
        how_seen = {
            **how,
            "images": f"training {unit}",
            "n_real": len(self.seen),
            "split": "train",
            "seed": self.seed,
        }
        (held_out, protocols), (training, its_protocols) = numbers(values, **how), numbers(seen, **how_seen)
        for name in protocols:
            if name.endswith("_fake"):
                protocols[name]["images"] = "samples"
        return held_out | training, protocols | its_protocols

    def means(self, model: GenerativeModel) -> Metrics:
        """The means over held-out images of the model's metrics of single images."""
        return _means(self.batches(model), model.test_metrics, model.seed)

    def means_of_training(self, model: GenerativeModel) -> Metrics:
        """The means over training images of those metrics that show overfitting."""
        batches = self.data.train_batches(model.device, chosen=self.seen)
        return _means(in_precision(model, batches), model.overfitting_metrics, model.seed)

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
        if self.of_training and codes.shape[1] < self.data.test.images[0].numel() <= PCA_PIXELS:
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


def _means(batches: Iterable[Batch], measure: Callable[[Batch, StepNoise], dict[str, Tensor]], seed: int) -> Metrics:
    """The means over all images of metrics of single images.

    Every process computes them all, so that processes need not agree on the names of metrics.
    """
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    counts: dict[str, int] = defaultdict(int)  # a metric may be of a part of the images
    for index, batch in enumerate(batches):
        noise = StepNoise(mix(seed, Stream.TEST))
        noise.start(index)
        for name, values in measure(batch, noise).items():
            sums[name] = sums[name] + values.double().sum().cpu()
            counts[name] += len(values)
    return {name: float(total) / counts[name] for name, total in sums.items()}
