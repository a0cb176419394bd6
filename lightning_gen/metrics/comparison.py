"""The interface of metrics of samples: the sets that they compare, and what they declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from torch import Tensor

from lightning_gen.data.placement import free_host_memory
from lightning_gen.errors import UserError
from lightning_gen.metrics.cache import Arrays, as_tensors
from lightning_gen.metrics.feature_pass import FeatureSet
from lightning_gen.metrics.features import FeatureExtractor


class Classifies(Protocol):
    """An extractor that also classifies."""

    num_classes: int

    def logits_from_features(self, features: Tensor) -> Tensor: ...


Store = Callable[[str, Callable[[], Arrays]], dict[str, Tensor]]


@dataclass
class Comparison:
    """Samples (or, for a floor, other real images) and the real images that they are compared with.

    Attributes:
        fake: the set to evaluate.
        reference: the real images to compare with.
        extractor: the extractor of the features.
        seed: for a metric's random numbers.
        real: further real sets that metrics need: ``train`` and ``held_out``, with features and images.
        labels: class labels of those sets, if they have any.
        kept: results of ``once``.
        store: how ``once`` keeps results on disk; ``None``: in memory only.
    """

    fake: FeatureSet
    reference: FeatureSet
    extractor: FeatureExtractor
    seed: int = 0
    real: dict[str, FeatureSet] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    store: Store | None = None

    def once(self, name: str, compute: Callable[[], Arrays]) -> dict[str, Tensor]:
        """A result of real images only, on the CPU: computed at the first call, and kept for later runs too.

        Args:
            name: of the result; with settings of the metric that it depends on, if any.
            compute: tensors or numbers by name.
        """
        if name not in self.kept:
            store = (lambda _, compute: as_tensors(compute())) if self.store is None else self.store
            self.kept[name] = store(name, compute)
        return self.kept[name]

    def named(self, metric: str) -> str:
        """The metric's name with this extractor, for example ``fid_classifier``."""
        return self.extractor.metric_name(metric)

    def features(self) -> tuple[Tensor, Tensor]:
        """Features of the samples [N, d] and of the reference [M, d], float32 on the extractor's device."""
        return cast(Tensor, self.fake.features), cast(Tensor, self.reference.features)

    def logits(self) -> tuple[Tensor, Tensor]:
        """Class logits of the samples [N, K] and of the reference [M, K]."""
        net = cast(Classifies, self.extractor)
        fake, real = self.features()
        return net.logits_from_features(fake), net.logits_from_features(real)


@dataclass(frozen=True)
class Metric:
    """A metric: a function of a comparison, and what that function needs.

    Attributes:
        compute: returns numbers by name, without ``eval/``, or one number, which gets the metric's name.
        keep: what to keep of real images besides the moments of their features: ``features``, ``images``.
        floor: whether to compute it also for other real images in place of samples, as a floor (or a ceiling).
        settings: the metric's settings, for its protocol.
        needs: ``classes``: an extractor that classifies; ``train``: all training images; ``labels``: class labels.
        keep_fake: what to keep of samples; ``None``: the same as for real images.
        least: the fewest samples that it needs, and with a floor real images too, given the number of features.
    """

    compute: Callable[[Comparison], Mapping[str, float] | float]
    keep: frozenset[str] = frozenset({"features"})
    floor: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    keep_fake: frozenset[str] | None = None
    least: Callable[[int], int] = lambda width: 2


def check(
    name: str, metric: Metric, extractor: FeatureExtractor, count: tuple[int, int], train: bool, labels: bool
) -> None:
    """Check, before anything is computed, that a metric has what it needs.

    Args:
        name: of the metric.
        metric: the metric.
        extractor: the extractor of the features.
        count: the numbers of samples and of real images.
        train: whether there are both training and held-out images.
        labels: whether both have class labels.

    Raises:
        UserError: it lacks something.
    """
    if "classes" in metric.needs and not hasattr(extractor, "logits_from_features"):
        raise UserError(
            f"evaluation.metrics: {name} needs an extractor that classifies, not {extractor.name}: set "
            "evaluation/extractor=classifier, or leave it out."
        )
    if "train" in metric.needs and not train:
        raise UserError(f"evaluation.metrics: {name} needs both training and held-out images: leave it out.")
    if "labels" in metric.needs and not labels:
        raise UserError(f"evaluation.metrics: {name} needs class labels, and the data set has none: omit it.")
    least = metric.least(extractor.num_features)
    if count[0] < least:
        raise UserError(
            f"evaluation.metrics: {name} needs {least} samples or more, but evaluation.num_samples={count[0]}: set "
            f"it to {least} or more, or leave {name} out."
        )
    if metric.floor and count[1] < least:
        raise UserError(
            f"evaluation.metrics: {name} needs {least} real images or more on each side, but there are {count[1]}: "
            f"leave {name} out, or use more images."
        )


def check_memory(metrics: Mapping[str, Metric], width: int, values: int, samples: int) -> None:
    """Check that what metrics keep of the samples fits into the memory.

    Args:
        metrics: the metrics by name.
        width: number of features.
        values: number of values of an image.
        samples: number of samples.

    Raises:
        UserError: it does not fit.
    """
    kept = {name: metric.keep | (metric.keep_fake or frozenset()) for name, metric in metrics.items()}
    together = frozenset[str]().union(*kept.values())
    needed = samples * (4 * width * ("features" in together) + values * ("images" in together))
    free = free_host_memory()
    if needed > free:
        keeping = ", ".join(name for name, parts in kept.items() if parts)
        raise UserError(
            f"evaluation.num_samples={samples}: {keeping} keep {needed / 1e9:,.1f} GB of samples, and "
            f"{free / 1e9:.1f} GB of memory are free: lower it, or leave these metrics out."
        )
