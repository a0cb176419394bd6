"""Use of a model outside of training: codes and samples."""

import copy
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.data.placement import free_host_memory
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.gan import GAN
from lightning_gen.randomness import mix

Codes = tuple[Tensor, Tensor | None]  # codes [N, Z], and the labels [N] if there are any
CHUNK = 250  # images drawn at once; another number would give other images for the same seed


def in_precision(model: GenerativeModel, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches in the model's precision, which is not float32 for `trainer.precision=64-true`, for example."""
    for batch in batches:
        yield batch._replace(images=batch.images.to(model.dtype))


@torch.no_grad()
def codes_of(model: GenerativeModel, batches: Iterable[Batch]) -> Codes:
    """Codes, float [N, Z], and labels, int64 [N] or None, on the CPU."""
    codes, labels = [], []
    for batch in batches:
        codes.append(model.encode(batch.images, batch.labels).float().cpu())
        labels.append(batch.labels)
    together = None if labels[0] is None else torch.cat([part.cpu() for part in labels if part is not None])
    return torch.cat(codes), together


def draw_samples(
    model: GenerativeModel, count: int, seed: int = 0, label: int | None = None, truncation: float | None = None
) -> Tensor:
    """Images [count, C, H, W] in [0, 1], float, on the CPU; a seed gives the same latents on every device.

    Args:
        model: in evaluation mode.
        count: how many images, 1 or more.
        seed: the seed of the latents. The global random generators are not used.
        label: the class, for a conditional model; None: drawn uniformly.
        truncation: for GANs: fewer kinds of images, each more typical. Codes are restricted to [-truncation,
            truncation]; in StyleGAN2 the distances of styles from the mean style are multiplied by `truncation`.

    Raises:
        UserError: a count below 1, more images than fit into the memory, a class that the model does not have, or a
            truncation for another model.
    """
    needed, free = 4 * count * math.prod(model.image_shape), free_host_memory()
    if needed > free:
        raise UserError(
            f"{count:,} {model.unit} take {needed / 1e9:,.1f} GB of memory, and {free / 1e9:.1f} GB are free: draw "
            "fewer at once, with another seed each time."
        )
    return torch.cat(list(draw_in_parts(model, count, seed, label, truncation)))


def draw_in_parts(
    model: GenerativeModel, count: int, seed: int = 0, label: int | None = None, truncation: float | None = None
) -> Iterator[Tensor]:
    """The images of `draw_samples`, CHUNK at a time.

    Raises:
        UserError: as `draw_samples`, before the first image is drawn.
    """
    if count < 1:
        raise UserError(f"count={count}: draw 1 or more {model.unit}.")
    if label is not None and not 0 <= label < model.num_classes:
        known = f"knows the classes 0 to {model.num_classes - 1}"
        without = "knows no classes; only a model that was trained with conditional=true does"
        raise UserError(f"label={label}: this model {known if model.num_classes else without}.")
    if truncation is not None:
        if not isinstance(model, GAN):
            raise UserError(f"truncation works with GANs; this model is a {type(model).__name__}.")
        model = copy.copy(model)  # shares the weights; the caller's model keeps its truncation
        model.truncation = truncation
    return _parts(model, count, torch.Generator().manual_seed(mix(seed)), label)


def _parts(model: GenerativeModel, count: int, generator: torch.Generator, label: int | None) -> Iterator[Tensor]:
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        labels = None if label is None else torch.full((size,), label, device=model.device)
        yield model.sample(size, generator, labels).cpu()
