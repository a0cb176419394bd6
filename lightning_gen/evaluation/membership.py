"""Scores of images for membership inference: how likely a model was trained on each of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.loader import in_order
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.transforms import BatchTransform
from lightning_gen.errors import UserError
from lightning_gen.metrics.membership import lira
from lightning_gen.metrics.memorization import nearest_in_pixels
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.gan import GAN
from lightning_gen.models.use import in_precision
from lightning_gen.models.variational import VariationalModel
from lightning_gen.pictures import to_uint8
from lightning_gen.randomness import StepNoise, Stream, mix

BATCH = 500  # images processed at once

# What each attack looks at, with its source; the score is higher for images that are more likely to be members.
ATTACKS = {
    "bound": "ELBO, mean over draws of the code (Yeom et al. 2018, Hayes et al. 2019)",
    "reconstruction": "reconstruction error (Yeom et al. 2018)",
    "discriminator": "logit of the discriminator (Hayes et al. 2019)",
    "distance": "distance to the nearest sample, in pixels (Chen et al. 2020)",
}


@dataclass(frozen=True)
class Audited:
    """The images of an audit.

    Attributes:
        members: images that the model was trained on.
        others: images that it was not trained on.
        rows: their numbers, members first, among all images of the training split; None: `others` are test images.
    """

    members: ImageSet
    others: ImageSet
    rows: Tensor | None

    @property
    def source(self) -> str:
        """Where the others are from, in words."""
        return "held-out images" if self.rows is None else "training images that the run left out"


def audited(data: ImageDataModule, count: int, seed: int) -> Audited:
    """At most `count` random training images, and as many that the model has not seen.

    These are the images that `dataset.limit` or `dataset.fraction` left out, if there are any: they have the same
    distribution as the members, which test images may not have (MNIST's are by other writers).

    Raises:
        UserError: the training images are read while training, or there are too few.
    """
    if data.load().train.stream is not None:
        raise UserError(f"dataset={data.dataset} is read while training: an audit needs its images at hand.")
    kept, total = data.kept()
    left = torch.ones(total, dtype=torch.bool).index_fill_(0, kept, False).nonzero().flatten()
    generator = torch.Generator().manual_seed(mix(seed, Stream.AUDIT))
    inside = kept[torch.randperm(len(kept), generator=generator)[:count]]
    if len(left):
        outside = left[torch.randperm(len(left), generator=generator)[:count]]
        found = Audited(data.chosen_from(inside), data.chosen_from(outside), torch.cat([inside, outside]))
    else:
        outside = torch.randperm(len(data.test), generator=generator)[:count]
        found = Audited(data.chosen_from(inside), data.test.subset(outside), None)
    if min(len(found.members), len(found.others)) < 4:
        raise UserError("an audit needs 4 or more training images, and as many that the run was not trained on.")
    return found


@torch.no_grad()
def scores(
    model: GenerativeModel, images: ImageSet, data: ImageDataModule, samples: Tensor | None, draws: int, seed: int
) -> dict[str, Tensor]:
    """The score of each image [N] by attack, those of `ATTACKS` that this model allows, in float64 on the CPU.

    Args:
        model: in evaluation mode.
        images: the images.
        data: their data set, for its dequantization.
        samples: of the model [S, C, H, W]; None: no distances.
        draws: how often the code of an image is drawn for its bound. The draws are the same at every call.
        seed: of the draws.
    """
    found: dict[str, list[Tensor]] = {}
    transform = BatchTransform(dequantize=data.batch_transform.dequantize)
    batches = in_order(images, BATCH, model.device, transform, seed)
    for index, batch in enumerate(in_precision(model, batches)):
        mine: dict[str, Tensor] = {}
        if isinstance(model, VariationalModel):
            total = torch.zeros(len(batch.images), dtype=torch.float64)
            for draw in range(draws):
                noise = StepNoise(mix(seed, Stream.AUDIT_DRAWS, draw))
                noise.start(index)
                total += model.parts(model.terms(batch, noise))["elbo"].double().cpu()
            mine["bound"] = total / draws
        if model.can_encode:
            error = (model.reconstruct(batch.images, batch.labels) - batch.images).square().flatten(1).sum(1)
            mine["reconstruction"] = -error
        if isinstance(model, GAN):
            labels = batch.labels if model.num_classes else None
            mine["discriminator"] = model.classify(batch.images, labels).logits
        for name, values in mine.items():
            found.setdefault(name, []).append(values.double().cpu())
    together = {name: torch.cat(parts) for name, parts in found.items()}
    if samples is not None:
        together["distance"] = -nearest_in_pixels(images.images, to_uint8(samples))[0].double()
    return together


def against_shadows(scores: dict[str, Tensor], shadows: list[dict[str, Tensor]], inside: Tensor) -> dict[str, Tensor]:
    """Each attack with its scores relative to those of shadow models: `lira` of every attack, named NAME+lira.

    `inside`: whether each shadow model was trained on the image, bool [S, N].
    """
    return {
        f"{name}+lira": lira(mine, torch.stack([shadow[name] for shadow in shadows]), inside)
        for name, mine in scores.items()
        if all(name in shadow for shadow in shadows)
    }
