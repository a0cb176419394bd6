"""A model's own metrics over held-out images."""

from collections import defaultdict
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.loader import to_float
from lightning_gen.data.module import ImageDataModule
from lightning_gen.evaluation.evaluator import Evaluator, Metrics, Protocols
from lightning_gen.metrics.probing import PCA, cluster_quality
from lightning_gen.metrics.sample_evaluator import SampleEvaluator, versions
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import codes_of, in_precision
from lightning_gen.randomness import StepNoise, Stream, mix

PCA_PIXELS = 1024  # the covariance of larger images takes minutes to decompose


def test_metrics(model: GenerativeModel, data: ImageDataModule) -> Metrics:
    """The model's own metrics over all held-out images, as means over images, named `eval/...`.

    Every process computes them all: they are few, and so they need not agree on their names.
    """
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    for index, batch in enumerate(in_precision(model, data.test_batches(model.device))):
        noise = StepNoise(mix(model.seed, Stream.TEST))
        noise.start(index)
        for name, values in model.test_metrics(batch, noise).items():
            sums[name] = sums[name] + values.double().sum().cpu()
    return {f"eval/{name}": float(total) / len(data.test) for name, total in sums.items()}


def code_metrics(model: GenerativeModel, data: ImageDataModule) -> Metrics:
    """How clusters of the held-out images' codes agree with their classes, and what PCA of that width does."""
    if not (model.can_encode and model.can_sample):
        return {}
    codes, labels = codes_of(model, in_precision(model, data.test_batches(model.device)))
    metrics: Metrics = {}
    if labels is not None:
        metrics |= cluster_quality(codes, labels, data.num_classes)
    if codes.shape[1] < data.test.images[0].numel() <= PCA_PIXELS:
        metrics["squared_error_pca"] = pca_error(data, codes.shape[1])
    return {f"eval/{name}": value for name, value in metrics.items()}


@lru_cache(maxsize=4)
def pca_error(data: ImageDataModule, width: int) -> float:
    """The squared error of principal component analysis of that width, fitted to the training images."""
    return PCA(data.train.images, width).squared_error(data.test.images)


def evaluate_model(
    model: GenerativeModel, data: ImageDataModule, evaluator: Evaluator, **context: Any
) -> tuple[Metrics, Protocols]:
    """All metrics of a model in evaluation mode, and the protocol of each."""
    context = {"batch_norm": "running statistics", **context}
    metrics, protocols = evaluator(model, data, **context)
    whole = model.held_out_metrics(lambda: in_precision(model, data.test_batches(model.device)))
    own = test_metrics(model, data) | {f"eval/{name}": value for name, value in whole.items()}
    own |= code_metrics(model, data)
    held_out = {"images": "held-out images", "n_real": len(data.test), "split": "test", **context}
    held_out |= {"evaluation": evaluator.name, "versions": versions()}
    for name in own:
        protocols[name] = {"metric": name.removeprefix("eval/"), **held_out}
    return {**own, **metrics, **own}, protocols


def neighbours(evaluator: Evaluator) -> dict[str, tuple[Tensor, int]]:
    """Ten samples, each followed by its nearest training images, four in a row; only with `memorization`."""
    if (
        not isinstance(evaluator.sample_evaluator, SampleEvaluator)
        or "memorization" not in evaluator.sample_evaluator.metrics
    ):
        return {}
    return {"neighbours": (to_float(evaluator.sample_evaluator.neighbour_picture()), 4)}
