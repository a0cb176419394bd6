"""The perceptual path length of a model, by the features of the evaluation."""

from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.module import ImageDataModule
from lightning_gen.metrics.path_length import EPSILON, TRIMMED, path_lengths, slerp, trimmed_mean
from lightning_gen.metrics.protocol import Numbers, numbers
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.gan import GAN
from lightning_gen.models.use import CHUNK
from lightning_gen.randomness import Stream, mix


def path_length(
    model: GenerativeModel, data: ImageDataModule, evaluator: SampleEvaluator, context: dict[str, Any]
) -> Numbers:
    """`eval/ppl_...`: the mean over `num_samples` paths, measured at their beginnings.

    The paths are straight lines between styles for a generator that has styles, and otherwise great circles between
    codes from the prior.
    """
    styles = isinstance(model, GAN) and model.has_styles()
    generator = torch.Generator().manual_seed(mix(evaluator.seed, Stream.PATHS))
    extractor, lengths = evaluator.extractor.to(model.device), []
    for first in range(0, evaluator.num_samples, CHUNK):
        count = min(CHUNK, evaluator.num_samples - first)
        start, end = (model.sample_codes(count, generator) for _ in range(2))
        labels = None
        if model.num_classes:
            labels = torch.randint(model.num_classes, (count,), generator=generator).to(model.device)
        if styles:
            start, end = (_styles(model, model.labelled(codes, labels)) for codes in (start, end))
            lengths.append(path_lengths(start, end, lambda each: _images(model, each), extractor))
        else:
            decode = lambda codes, classes=labels: model.decode(model.labelled(codes, classes)).float()  # noqa: E731
            lengths.append(path_lengths(start, end, decode, extractor, slerp))
    value = trimmed_mean(torch.cat(lengths).cpu())
    path = "lines between styles" if styles else "great circles between codes"
    protocol = {"path": path, "sampling": "end", "epsilon": EPSILON, "trimmed": TRIMMED, "seed": evaluator.seed}
    return numbers(
        {f"ppl_{extractor.kind}": value},
        images="samples",
        n_fake=evaluator.num_samples,
        **extractor.protocol(),
        **protocol,
        **context,
    )


def _styles(model: Any, latents: Tensor) -> Tensor:
    return model.generator.styles(latents).float()


def _images(model: Any, styles: Tensor) -> Tensor:
    return model.to_image(model.generator.synthesize(styles).float()).clamp(0, 1)
