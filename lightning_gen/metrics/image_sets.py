"""The Frechet distance between two sets of images, without a model or a run."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.metrics.classifier import PART_OF, WEIGHTS, packaged_classifier
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.feature_pass import feature_pass, from_images
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.pictures import as_images, to_uint8

Features = Literal["classifier", "inception", "dinov2", "random", "pixels"]


def image_distance(
    images_a: Tensor | np.ndarray,
    images_b: Tensor | np.ndarray,
    extractor: Features = "classifier",
    dataset: str | None = None,
    device: torch.device | str = "cpu",
) -> float:
    """The Frechet distance between two sets of images; `lightning_gen.frechet_distance` documents it."""
    sides = [as_images(images) for images in (images_a, images_b)]
    for images in sides:
        if len(images) < 2:
            raise ValueError(f"expected 2 images or more on each side, got {len(images)}: a covariance needs two.")
    network = _network(extractor, dataset, sides[0]).to(device)
    moments = [_moments(images, network, device) for images in sides]
    return frechet_distance(*moments)


def _network(kind: str, dataset: str | None, images: Tensor) -> FeatureExtractor:
    if kind == "classifier" and packaged_classifier(dataset or "") is None:
        known = ", ".join(map(repr, sorted([*PART_OF, *(file.stem for file in WEIGHTS.glob("*.json"))])))
        raise UserError(
            f"extractor='classifier' needs dataset= one of {known}, whose classifiers come with the package; got "
            f"{dataset!r}. For other images use extractor='inception', 'dinov2', 'random' or 'pixels'."
        )
    if kind == "auto":
        raise UserError("extractor='auto' is for the evaluation of a run: name the features to compare by.")
    return build_extractor(kind, dataset=dataset or "", images=images)


def _moments(images: Tensor, network: FeatureExtractor, device: torch.device | str) -> Moments:
    source = from_images(to_uint8(images), torch.arange(len(images)))
    return feature_pass(source, len(images), network, device=device).moments
