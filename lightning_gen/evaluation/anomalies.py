"""The anomaly scores of a model, for each image; a higher score is stranger."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.metrics.anomalies import mahalanobis, neighbour_distance, png_nats
from lightning_gen.metrics.likelihood import importance_sampled
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import in_precision
from lightning_gen.randomness import StepNoise, Stream, mix

BATCH = 100  # images at a time; part of the protocol, because each batch has a seed
MOST_VALUES = 4096  # in an image; the nearest neighbours of larger ones, in pixels, take minutes
FROM_TEST_METRICS = {  # the model's own metrics of single images: the score, its sign and what it is
    "squared_error": ("reconstruction_error", 1, "squared error, summed over values"),
    "elbo": ("bound", -1, "-ELBO, nats, 1 draw"),
    "nll": ("nll", 1, "-log p(x), nats, exact"),
}


@dataclass
class Scores:
    """Scores of images by name, each float64 [N], and what each is.

    `errors`: where each image is strange: the absolute error of its reconstruction, the mean over channels, float [N,
    1, H, W]; None for a model that does not reconstruct.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    what: dict[str, str] = field(default_factory=dict)
    errors: Tensor | None = None

    def add(self, name: str, values: Tensor, what: str) -> None:
        self.values[name], self.what[name] = values.double().cpu(), what


@torch.no_grad()
def anomaly_scores(
    model: GenerativeModel,
    batches: Callable[[], Iterable[Batch]],
    data: ImageDataModule,
    draws: int = 20,
    neighbours: int = 5,
    background: GenerativeModel | None = None,
) -> Scores:
    """All scores that the model has, of the images of `batches`.

    Args:
        model: in evaluation mode.
        batches: gives the images to score, each time in the same order.
        data: the data that the model was trained on; at most 10,000 of the training images are the reference of the
            distances.
        draws: draws from q(z|x) for each image, for the importance-weighted likelihood.
        neighbours: the distance of codes is that to this neighbour.
        background: a model with a likelihood, for the likelihood ratio (Ren et al. 2019).

    Raises:
        UserError: a model that is conditioned on the class, which anomalies do not have; or a background model that
            cannot be compared.
    """
    check(model, background)
    scores = own_scores(model, batches())
    found = log_likelihoods(model, batches(), draws, data.seed)
    if found is not None:
        scores.add("nll", -found.values, f"-log p(x), nats, {draws} draws from q(z|x)")
        if found.eight_bit:
            length = torch.cat([png_nats(batch.images) for batch in batches()])
            scores.add("complexity", -found.values - length, "nll - length as a PNG file, nats")
    if background is not None:
        other = log_likelihoods(background, batches(), draws, data.seed)
        if found is None or other is None:
            raise UserError("--background needs two runs of models with a likelihood, such as model=vae.")
        scores.add("likelihood_ratio", other.values - found.values, "log of p(x) of the background over p(x), nats")
    add_distances(scores, model, batches, data, neighbours)
    return scores


def check(model: GenerativeModel, background: GenerativeModel | None) -> None:
    """Raise a UserError for models whose scores mean nothing here."""
    for one in (model, background):
        if one is not None and one.num_classes:
            raise UserError("anomalies needs a run with conditional=false: an anomaly is of no class that it knows.")
    if background is None:
        return
    if background.image_shape != model.image_shape:
        sizes = ("x".join(map(str, one.image_shape)) for one in (model, background))
        raise UserError(f"--background: the run has images of {' and the background of '.join(sizes)}.")
    if background.table != model.table:
        raise UserError("--background: train it on the same table as the run: the columns or training rows differ.")
    kinds = [type(getattr(one, "likelihood", None)).__name__ for one in (model, background)]
    if "NoneType" in kinds and kinds != ["NoneType"] * 2:
        raise UserError("--background needs two runs of models with the same likelihood, such as model=vae.")
    if kinds[0] != kinds[1]:
        raise UserError(
            f"--background: the likelihoods are {' and '.join(kinds)}, whose nats cannot be compared: train both "
            "runs with the same model/likelihood."
        )


def own_scores(model: GenerativeModel, batches: Iterable[Batch]) -> Scores:
    """The scores among the model's own metrics of single images, its discriminator's, and the error maps."""
    found: dict[str, list[Tensor]] = {}
    errors = []
    for index, batch in enumerate(in_precision(model, batches)):
        noise = StepNoise(mix(model.seed, Stream.TEST))
        noise.start(index)
        values = {} if model.needs_labels else model.test_metrics(batch._replace(labels=None), noise)
        for name in FROM_TEST_METRICS.keys() & values.keys():
            found.setdefault(name, []).append(values[name])
        logits = model.discriminator_logits(batch.images)
        if logits is not None:
            found.setdefault("discriminator", []).append(-logits)
        if "squared_error" in values:
            error = (model.reconstruct(batch.images) - batch.images).abs()
            errors.append(error.mean(dim=1, keepdim=True).float().cpu())
    scores = Scores(errors=torch.cat(errors) if errors else None)
    for name, (score, sign, what) in FROM_TEST_METRICS.items():
        if name in found:
            scores.add(score, sign * torch.cat(found[name]), what)
    if "discriminator" in found:
        scores.add("discriminator", torch.cat(found["discriminator"]), "-logit of the discriminator")
    return scores


class LogLikelihoods(NamedTuple):
    """log p(x), nats, float64 [N], and whether x are 8-bit images or dequantized ones, which only adds a constant."""

    values: Tensor
    eight_bit: bool


def log_likelihoods(model: GenerativeModel, batches: Iterable[Batch], draws: int, seed: int) -> LogLikelihoods | None:
    """Importance-weighted estimates of log p(x) (Burda et al. 2016, eq. 8); None for a model without densities.

    By `seed`, two models get the same dequantization or binarization of the images.
    """
    found, eight_bit = [], False
    for index, batch in enumerate(in_precision(model, batches)):
        noise = StepNoise(mix(seed, Stream.LIKELIHOOD_NOISE))
        noise.start(index)
        densities = model.densities(batch._replace(labels=None), noise)
        if densities is None:
            return None
        generator = torch.Generator(model.device).manual_seed(mix(seed, Stream.LIKELIHOOD_DRAWS, index))
        dtype: Any = model.dtype
        found.append(importance_sampled(densities, draws, model.device, generator, dtype).double().cpu())
        eight_bit = densities.discrete is not None
    return LogLikelihoods(torch.cat(found), eight_bit)


def add_distances(
    scores: Scores,
    model: GenerativeModel,
    batches: Callable[[], Iterable[Batch]],
    data: ImageDataModule,
    neighbours: int,
) -> None:
    """Distances to training images: of codes if the model has an encoder, and of pixels, which need no model."""

    def training() -> Iterator[Batch]:
        return data.train_batches(model.device)

    count = min(len(data.train), 10_000)
    if neighbours > count:
        raise UserError(f"--neighbours {neighbours}: there are {count} training {model.unit}.")
    nearest = f"distance to {ordinal(neighbours)} nearest of {count:,} training"
    if model.can_encode:
        seen, known = (
            torch.cat([model.encode(batch.images).flatten(1).float() for batch in in_precision(model, some)])
            for some in (batches(), training())
        )
        scores.add("mahalanobis", mahalanobis(seen, known), f"Mahalanobis distance from {count:,} training codes")
        scores.add("nearest_codes", neighbour_distance(seen, known, neighbours), f"{nearest} codes")
    if data.train.images[0].numel() <= MOST_VALUES:
        seen, known = (torch.cat([batch.images.flatten(1) for batch in some]) for some in (batches(), training()))
        distance = neighbour_distance(seen, known, neighbours)
        name = "nearest_pixels" if model.table is None else "nearest_rows"
        scores.add(name, distance, f"{nearest} {model.unit}, no model")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
