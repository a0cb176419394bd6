"""Which features images are compared by, and the two kinds of features that need no trained weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.metrics.classifier import (
    NATIVE_SIZE,
    NUM_FEATURES,
    cached_classifier,
    classifier_body,
    packaged_classifier,
    run_body,
)
from lightning_gen.metrics.dinov2 import DinoV2Extractor
from lightning_gen.metrics.features import FeatureExtractor, hash_tensors
from lightning_gen.metrics.inception import find_inception_weights, load_inception

KINDS = ("auto", "classifier", "inception", "dinov2", "random", "pixels")
PIXELS_SIDE = 32  # 3 x 32 x 32 = 3072 features: a covariance of 75 MB; four times the side would be 19 GB


class RandomExtractor(FeatureExtractor):
    """The small classifier's network with random weights, for images without labels.

    It ranks distortions much as trained features do, but is about six times less sensitive to a missing class.

    Args:
        channels: 1 or 3.
        seed: draws the weights (He et al. 2015), the same on every machine; the global generator is not touched.
    """

    num_features = NUM_FEATURES
    native_size = NATIVE_SIZE

    def __init__(self, channels: int, seed: int = 0) -> None:
        super().__init__()
        self.native_channels = channels
        with torch.device("meta"):
            self.body = classifier_body(channels)
        self.body.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        for key, parameter in self.body.named_parameters():
            if key.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
        self.name = f"random-conv-s{seed}"
        self.weights_hash = hash_tensors(self.state_dict())
        self.freeze()

    def extract(self, images: Tensor) -> Tensor:
        return run_body(self.body, images * 2 - 1)


class PixelExtractor(FeatureExtractor):
    """The pixels themselves, for images up to 32x32; better for nearest neighbours than for distances.

    Args:
        image_shape: (C, H, W) of the data set.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *sides = image_shape
        height, width = (min(side, PIXELS_SIDE) for side in sides)
        self.native_size, self.native_channels = (height, width), channels
        self.num_features = channels * height * width
        self.name = f"pixels-{channels}x{height}x{width}"
        self.weights_hash = "none"
        self.freeze()

    def extract(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def build_extractor(
    kind: str = "auto",
    *,
    dataset: str,
    images: Tensor,
    labels: Tensor | None = None,
    weights: Path | str | None = None,
    model: str = "dinov2_vitl14",
    resize: str = "tf1",
    cache_dir: Path | str | None = None,
    seed: int = 0,
) -> FeatureExtractor:
    """The feature extractor for a data set.

    ``auto`` takes the first that is available: the packaged classifier of the data set; Inception, for RGB images of
    32x32 or more if its weights are found; a classifier trained on the labels and cached; random features.

    Args:
        kind: one of ``KINDS``.
        dataset: name of the data set.
        images: its training split, uint8 [N, C, H, W].
        labels: int64 [N], or ``None``; labels of another shape count as ``None``.
        weights: file of weights, for ``inception`` and ``dinov2``.
        model: which network, for ``dinov2``.
        resize: how images are resized, for ``inception``.
        cache_dir: folder for a trained classifier; needed by ``classifier`` if none is packaged.
        seed: for the weights of ``random``, and for training a classifier.

    Raises:
        UserError: an unknown kind, or one that is not available for these images on this machine.
    """
    if kind not in KINDS:
        raise UserError(f"evaluation/extractor={kind}: use one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    if kind == "auto":
        kind, _ = default_kind(dataset, images, labels, weights)
    channels, height, width = images.shape[1:]
    if kind == "inception":
        return load_inception(weights, resize)
    if kind == "dinov2":
        return DinoV2Extractor(model, weights)
    if kind == "random":
        return RandomExtractor(1 if channels == 1 else 3, seed)
    if kind == "pixels":
        return PixelExtractor((channels, height, width))
    packaged = packaged_classifier(dataset)
    if packaged is not None:
        return packaged
    if not _has_classes(labels):
        raise UserError(
            f"dataset={dataset} has no class labels, or one class only: set evaluation/extractor=random or inception"
        )
    if cache_dir is None:
        raise UserError("a classifier is trained once and cached: set evaluation.cache_dir")
    assert labels is not None
    return cached_classifier(images, labels, name=dataset, cache_dir=cache_dir, seed=seed)


def default_kind(
    dataset: str, images: Tensor, labels: Tensor | None, weights: Path | str | None = None
) -> tuple[str, str]:
    """The kind that ``auto`` selects, and why."""
    large_rgb = images.shape[1] == 3 and min(images.shape[-2:]) >= 32
    if packaged_classifier(dataset) is not None:
        return "classifier", "one comes with the package for this data set"
    if large_rgb and find_inception_weights(weights) is not None:
        return "inception", "its weights were found"
    if _has_classes(labels):
        return "classifier", "the data set has class labels to train one on"
    missing = "its weights were not found" if large_rgb else "Inception needs RGB images of 32x32 or more"
    return "random", f"there are not two classes to tell apart, and {missing}"


def _has_classes(labels: Tensor | None) -> bool:
    """Whether there are labels of two classes or more: a classifier of one class learns no features."""
    if labels is None or labels.ndim != 1 or len(labels) == 0 or labels.is_floating_point():
        return False
    return bool((labels != labels[0]).any())
