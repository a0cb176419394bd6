"""Pictures of the latent dimensions of a VAE."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_gen.models.base import Picture
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution, FullGaussian
from lightning_gen.pictures import bars

DIMENSIONS, VALUES, RANGE = 8, 10, 3.0  # rows, columns, and the largest distance from 0


def kl_per_dimension(q: Distribution) -> Tensor | None:
    """The KL of each latent dimension from N(0, 1), averaged over images: [Z], in nats; None if q is not Gaussian."""
    return q.standard_normal_kl().mean(dim=0) if isinstance(q, DiagonalGaussian | FullGaussian) else None


def kl_bars(q: Distribution) -> dict[str, Picture]:
    """A bar chart of the KL per dimension, largest first; empty if it is not known in closed form."""
    kl = kl_per_dimension(q)
    if kl is None:
        return {}
    title = f"KL per dimension, {len(q.mean)} held-out images, nats"
    return {"kl_per_dimension": bars(kl.sort(descending=True).values, title, "latent dimension, the most used first")}


def traversals(q: Distribution, decode: Callable[[Tensor], Tensor]) -> tuple[Tensor, int]:
    """Images of latent traversals: in each row one dimension of the first image's code goes from -3 to 3.

    The rows show the dimensions with the largest KL over the images of the posteriors q or, where that is not known,
    with the largest variance of codes. `decode` maps codes [N, Z] to images [N, C, H, W].

    Returns the images and their number per row.
    """
    kl = kl_per_dimension(q)
    use = q.mean.var(dim=0) if kl is None else kl
    order = use.argsort(descending=True)[:DIMENSIONS]
    codes = q.mean[:1].repeat(len(order), VALUES, 1)  # [rows, values, Z]
    values = torch.linspace(-RANGE, RANGE, VALUES, device=codes.device, dtype=codes.dtype)
    codes[torch.arange(len(order)), :, order] = values
    return decode(codes.flatten(0, 1)), VALUES
