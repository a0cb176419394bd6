"""Metrics of models with an encoder: reconstructions, and disentanglement of the codes."""

from itertools import chain
from typing import Any

import torch

from lightning_gen.data.loader import in_order
from lightning_gen.data.module import ImageDataModule
from lightning_gen.metrics.disentanglement import disentanglement
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.protocol import Numbers, numbers
from lightning_gen.metrics.reconstruction import Score, evaluate_reconstruction
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import codes_of, in_precision
from lightning_gen.randomness import Stream, mix


def reconstruction(
    model: GenerativeModel,
    data: ImageDataModule,
    evaluator: SampleEvaluator,
    context: dict[str, Any],
    lpips: Score | None = None,
) -> Numbers:
    """Metrics of reconstructions of held-out images: as many as samples, so that Frechet distances have equal n."""
    test, seed = data.test, evaluator.seed
    chosen = seeded_subset(len(test), evaluator.num_samples, mix(seed, Stream.RECONSTRUCTION)).sort().values
    return evaluate_reconstruction(
        lambda batch, labels=None: model.reconstruct(batch.to(model.dtype), labels),
        test.images[chosen],
        evaluator.extractor,
        labels=None if test.labels is None else test.labels[chosen],
        lpips=lpips,
        cache=evaluator.cache,
        seed=seed,
        device=evaluator.device,
        split="test",
        **context,
    )


def code_disentanglement(
    model: GenerativeModel, data: ImageDataModule, evaluator: SampleEvaluator, context: dict[str, Any]
) -> Numbers:
    """Disentanglement scores of the codes of both splits, which together have every combination of factors."""
    parts = (data.train, data.test)
    factors = torch.cat([part.factors for part in parts if part.factors is not None])
    batches = chain.from_iterable(in_order(part, 500, model.device) for part in parts)
    codes, _ = codes_of(model, in_precision(model, batches))
    found = disentanglement(codes, factors, data.train.categorical, seed=evaluator.seed)
    return numbers(found, images="codes", n_real=len(codes), split="train+test", seed=evaluator.seed, **context)
