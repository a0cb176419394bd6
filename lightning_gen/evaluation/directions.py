"""Directions in the latent space of a model: from its weights, its features, its codes, or classes of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.sources.sprites import FACTORS
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.evaluation.latent_space import LatentSpace, features_at, first_layers, points_of
from lightning_gen.files import write_atomically
from lightning_gen.metrics.classifier import FeatureClassifier
from lightning_gen.metrics.directions import (
    Found,
    axes,
    class_differences,
    nearest_factors,
    principal_components,
    regressed_components,
    sefa,
)
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.pictures import to_float

METHODS = ("sefa", "ganspace", "pca", "axes", "classes")
POINTS_USED = 5000  # points whose components or class means are taken
MOST_FEATURES = 1000  # of these, points whose early features are compared: their product is [1000, 1000]


@dataclass(frozen=True)
class Directions:
    """Directions in a latent space.

    Attributes:
        method: how they were found, one of `METHODS`.
        names: of the K directions.
        vectors: [K, D], each of length 1.
        importance: [K]: the share of the eigenvalue or of the variance, or the distance between the means of classes.
        deviations: [K], the standard deviation of typical points along each direction, the unit of a step.
    """

    method: str
    names: tuple[str, ...]
    vectors: Tensor
    importance: Tensor
    deviations: Tensor

    @property
    def importance_name(self) -> str:
        """What `importance` is."""
        names = {"sefa": "of the sum of the eigenvalues of A^T A", "classes": "distance of means"}
        return names.get(self.method, "of the variance")

    def step(self, index: int, size: float) -> Tensor:
        """What is added to a point [D] to move it by `size` standard deviations along a direction."""
        return size * self.deviations[index] * self.vectors[index]

    def index(self, name: str) -> int:
        """The number of the direction of this name.

        Raises:
            UserError: there is none.
        """
        if name not in self.names:
            raise UserError(
                f"--direction {name} does not exist: use {', '.join(self.names)}.{did_you_mean(name, self.names)}"
            )
        return self.names.index(name)

    def save(self, path: Path) -> None:
        """Write `directions`, `deviations`, `importance` and `names` into an NPZ file."""
        arrays = {"directions": self.vectors, "deviations": self.deviations, "importance": self.importance}
        numbers: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items()}
        write_atomically(path, lambda file: np.savez(file, **numbers, names=np.array(self.names)))


@dataclass(frozen=True)
class KnownFactors:
    """All images of a data set with known factors of variation, float [N, C, H, W], and the factors, int64 [N, K].

    `ordered`: the numbers of the factors that have an order.
    """

    images: Tensor
    factors: Tensor
    names: tuple[str, ...]
    ordered: tuple[int, ...]


def known_factors(data: ImageDataModule) -> KnownFactors | None:
    """The factors of both splits, which together have every combination; None for other data sets."""
    parts = (data.train, data.test)
    values = [part.factors for part in parts if part.factors is not None]
    if len(values) < len(parts):
        return None
    factors = torch.cat(values)
    count = factors.shape[1]
    names = tuple(FACTORS) if len(FACTORS) == count else tuple(f"factor {k}" for k in range(count))
    ordered = tuple(k for k in range(count) if k not in data.train.categorical)
    return KnownFactors(to_float(torch.cat([part.images for part in parts])), factors, names, ordered)


def find_directions(space: LatentSpace, data: ImageDataModule, method: str, count: int, seed: int = 0) -> Directions:
    """Directions by one of `METHODS`; `classes` gives one for each class, or for each ordered factor.

    Raises:
        UserError: the method is not possible for this model or these data.
    """
    points, labels, images = points_of(space, data, POINTS_USED, seed)
    count = min(count, points.shape[1])
    if method == "classes":
        names, found = _of_classes(space, data, points, images)
    else:
        found = _of_points(space, method, points, labels, count)
        names = tuple(f"{index + 1}" for index in range(len(found.vectors)))
    vectors = found.vectors.to(points)
    deviations = (points @ vectors.T).std(dim=0)
    return Directions(method, names, vectors, found.importance, deviations)


def _of_points(space: LatentSpace, method: str, points: Tensor, labels: Tensor | None, count: int) -> Found:
    """The directions of `sefa`, `ganspace`, `pca` or `axes`."""
    if method == "axes":
        return axes(points, count)
    drawn = space.model.normal_prior and not (space.styles or space.encodes)
    if method == "pca" and drawn:
        raise UserError("--method pca: codes from N(0, I) vary equally in all directions: use --method ganspace.")
    if method == "pca" or (method == "ganspace" and space.styles):
        return principal_components(points, count)
    matrix, later = first_layers(space, points.shape[1])
    if method == "sefa":
        return sefa(matrix, count)
    if later is None:
        raise UserError(
            "--method ganspace needs a second layer, which this network does not have: use --method sefa."
        )
    points, labels = points[:MOST_FEATURES], None if labels is None else labels[:MOST_FEATURES]
    return regressed_components(points, features_at(space, later, points, labels), count)


def _of_classes(
    space: LatentSpace, data: ImageDataModule, points: Tensor, images: ImageSet | None
) -> tuple[tuple[str, ...], Found]:
    """A direction for each class or, where images have factors, for each ordered factor.

    That of a factor goes from the images in the lower half of its values to those in the upper half. A classifier, or
    the nearest image of the data set, says what a sample of a GAN is.
    """
    names, factors = data.train.classes, known_factors(data)
    if factors is not None:
        return _of_factors(space, points, images, factors)
    if space.model.num_classes:
        raise UserError("--method classes: this model is given the class, so that its codes do not contain it.")
    if len(names) < 2:
        raise UserError(f"--method classes: dataset={data.dataset} has no class labels.")
    own = None if images is None else images.labels
    labels = _classified(space, data, points) if own is None else own.to(points.device)
    counts = torch.bincount(labels, minlength=len(names))
    kept = (counts > 0).nonzero()[:, 0]  # a GAN may have lost some
    if len(kept) < 2:
        raise UserError(f"--method classes: all samples of this model are of the class {names[int(kept[0])]}.")
    position = torch.cumsum(counts > 0, dim=0) - 1
    return tuple(names[k] for k in kept.tolist()), class_differences(points, position[labels], len(kept))


def _of_factors(
    space: LatentSpace, points: Tensor, images: ImageSet | None, known: KnownFactors
) -> tuple[tuple[str, ...], Found]:
    own = None if images is None else images.factors
    factors = nearest_factors(space.shown(points), known.images, known.factors) if own is None else own
    upper = (factors > known.factors.amax(dim=0) / 2).to(points.device)
    for k in known.ordered:
        if upper[:, k].all() or not upper[:, k].any():
            raise UserError(f"--method classes: {known.names[k]} is the same in all samples of this model.")
    found = [class_differences(points, upper[:, k].long(), 2) for k in known.ordered]
    vectors, importance = (torch.stack([one[part][1] for one in found]) for part in (0, 1))
    return tuple(known.names[k] for k in known.ordered), Found(vectors, importance)


def _classified(space: LatentSpace, data: ImageDataModule, points: Tensor) -> Tensor:
    """The classes [N] of the images of points, by the classifier of the data set, on the device of the points."""
    train = data.train
    classifier = build_extractor(
        "classifier",
        dataset=data.dataset,
        images=train.images,
        labels=train.labels,
        cache_dir=data.decoding.cache_dir,
    )
    assert isinstance(classifier, FeatureClassifier)
    images = space.shown(points)
    return torch.cat([classifier.logits(part).argmax(dim=1) for part in images.split(500)]).to(points.device)
