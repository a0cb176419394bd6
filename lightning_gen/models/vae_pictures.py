"""Pictures of what each latent dimension of a VAE does."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_gen.models.base import Picture
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution, FullGaussian
from lightning_gen.pictures import bars

DIMENSIONS, VALUES, RANGE = 8, 10, 3.0  # rows, columns, and how far from 0 a dimension goes


def kl_per_dimension(q: Distribution) -> Tensor | None:
    """KL(q_j || N(0, 1)) of each latent dimension, averaged over images, nats, [Z]; None if q is not Gaussian."""
    return q.standard_normal_kl().mean(dim=0) if isinstance(q, DiagonalGaussian | FullGaussian) else None


def kl_bars(q: Distribution) -> dict[str, Picture]:
    """The KL per dimension of the posteriors q of some images, one bar each, largest first; {} if not known."""
    kl = kl_per_dimension(q)
    if kl is None:
        return {}
    title = f"KL per dimension, {len(q.mean)} held-out images, nats"
    return {"kl_per_dimension": bars(kl.sort(descending=True).values, title, "latent dimension, the most used first")}


def traversals(q: Distribution, decode: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
    """The first image's code with one dimension at a time moved from -3 to 3: one row each, most used first.

    Dimensions are ordered by their KL over the images of the posteriors q, or, where that is not known, by the
    variance of their codes. `decode` turns codes [N, Z] into images [N, C, H, W].

    Returns the images and how many stand in a row.
    """
    kl = kl_per_dimension(q)
    use = q.mean.var(dim=0) if kl is None else kl
    order = use.argsort(descending=True)[:DIMENSIONS]
    codes = q.mean[:1].repeat(len(order), VALUES, 1)  # [rows, values, Z]
    values = torch.linspace(-RANGE, RANGE, VALUES, device=codes.device, dtype=codes.dtype)
    codes[torch.arange(len(order)), :, order] = values
    return decode(codes.flatten(0, 1)), VALUES
