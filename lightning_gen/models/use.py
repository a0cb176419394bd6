"""Using a model outside of training."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.models.base import GenerativeModel


def in_precision(model: GenerativeModel, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches in the model's precision, for `trainer.precision` 64-true and the like."""
    for batch in batches:
        yield batch._replace(images=batch.images.to(model.dtype))


@torch.no_grad()
def codes_of(model: GenerativeModel, batches: Iterable[Batch]) -> tuple[Tensor, Tensor | None]:
    """Codes float [N, Z] and labels int64 [N], on the CPU."""
    codes, labels = [], []
    for batch in batches:
        codes.append(model.encode(batch.images, batch.labels).float().cpu())
        labels.append(batch.labels)
    together = None if labels[0] is None else torch.cat([part.cpu() for part in labels if part is not None])
    return torch.cat(codes), together
