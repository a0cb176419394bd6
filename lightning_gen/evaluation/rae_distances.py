"""Frechet distances as in table 1 of the RAE paper (Ghosh et al. 2020): four kinds of decoded images."""

from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.module import ImageDataModule
from lightning_gen.evaluation.fitted_priors import COMPONENTS, fitted_density
from lightning_gen.metrics.feature_pass import CHUNK, Source, from_sampler, seeded_subset
from lightning_gen.metrics.protocol import Numbers
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.models.base import GenerativeModel
from lightning_gen.randomness import Stream, mix


def four_distances(
    model: GenerativeModel, data: ImageDataModule, evaluator: SampleEvaluator, context: dict[str, Any]
) -> Numbers:
    """Frechet distances of reconstructions, of samples from the prior and from a mixture, and of interpolations.

    Reconstructions are of held-out images. The prior is what the model samples from. The mixture has 10 Gaussians,
    fitted to the codes of all training images. Interpolations are decoded from the midpoints between the codes of two
    random held-out images. Each kind has as many images as the evaluation has samples, and the same real images.

    Returns:
        `eval/fid_..._reconstruction`, `_prior`, `_gmm` and `_interpolation`, and the protocol of each.
    """
    n, seed = evaluator.num_samples, evaluator.seed
    at_hand = min(n, len(data.test))  # the number of reconstructions and of interpolations
    ends = (Stream.INTERPOLATION_START, Stream.INTERPOLATION_END)
    first, second = (seeded_subset(len(data.test), at_hand, mix(seed, stream)) for stream in ends)
    drawn = mix(seed, Stream.SAMPLES)
    made = {
        "reconstruction": evaluator.distance(decoded(model, data, first), at_hand, "reconstructions"),
        "prior": evaluator.distance(from_sampler(model.sample, drawn, evaluator.device), n, "samples"),
    }
    own, (mixture, _) = model.density, fitted_density(model, data, "gmm", seed=seed)
    model.density = mixture
    try:
        source = from_sampler(model.sample, drawn, evaluator.device)
        made["gmm"] = evaluator.distance(source, n, f"samples of {COMPONENTS} Gaussians fitted to codes")
    finally:
        model.density = own
    made["interpolation"] = evaluator.distance(decoded(model, data, first, second), at_hand, "interpolations")
    names = {name: f"{evaluator.distance_name}_{name}" for name in made}
    return (
        {names[name]: value for name, (value, _) in made.items()},
        {names[name]: {**how, **context} for name, (_, how) in made.items()},
    )


def decoded(model: GenerativeModel, data: ImageDataModule, first: Tensor, second: Tensor | None = None) -> Source:
    """Images decoded from the codes of the held-out images `first`, or from midpoints to the codes of `second`."""

    def latents(rows: Tensor) -> Tensor:
        images = data.test.images[rows].to(model.device, model.dtype) / 255  # type: ignore[arg-type]
        labels = None if data.test.labels is None else data.test.labels[rows].to(model.device)
        return model.labelled(model.encode(images, labels), labels)

    @torch.no_grad()
    def chunk(index: int, size: int) -> Tensor:
        part = slice(index * CHUNK, index * CHUNK + size)
        ends = [latents(rows[part]) for rows in (first, second) if rows is not None]
        return model.decode(sum(ends) / len(ends)).float()  # type: ignore[arg-type]

    return chunk
