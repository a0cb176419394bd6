"""What a metric of samples is given, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from torch import Tensor

from lightning_gen.metrics.feature_pass import FeatureSet
from lightning_gen.metrics.features import FeatureExtractor


class Classifies(Protocol):
    """An extractor that also classifies."""

    num_classes: int

    def logits_from_features(self, features: Tensor) -> Tensor: ...


@dataclass
class Comparison:
    """Samples (or, for a floor, other real images) and the real sets that they are compared with.

    Attributes:
        fake: the set to judge.
        reference: the real images to compare with.
        extractor: that made the features.
        seed: for whatever a metric draws.
        real: further real sets that a metric asked for: ``train`` and ``held_out``, with features and images.
        labels: class labels of those sets, where there are any.
        kept: what a metric keeps of the real side from one call to the next.
    """

    fake: FeatureSet
    reference: FeatureSet
    extractor: FeatureExtractor
    seed: int = 0
    real: dict[str, FeatureSet] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

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
    """A function of a comparison, and what has to be kept for it.

    Attributes:
        compute: gives numbers by name, without ``eval/``; or one number, which goes by the metric's own name.
        keep: what the passes over real images keep besides the moments: ``features``, ``images``.
        floor: whether other real images in place of samples make a floor (or a ceiling).
        settings: its own part of the protocol.
        needs: ``classes``, if the extractor has to classify; ``train``, for all training images; ``labels``.
        keep_fake: what the pass over the samples keeps; ``None``: the same as the others.
    """

    compute: Callable[[Comparison], Mapping[str, float] | float]
    keep: frozenset[str] = frozenset({"features"})
    floor: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    keep_fake: frozenset[str] | None = None
