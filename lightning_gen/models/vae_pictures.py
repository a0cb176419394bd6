"""Pictures of what each latent dimension of a VAE does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_gen.models.base import Picture
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution, FullGaussian
from lightning_gen.pictures import bars

if TYPE_CHECKING:
    from lightning_gen.models.vae import VAE

DIMENSIONS, VALUES, RANGE = 8, 10, 3.0  # rows, columns, and how far from 0 a dimension goes


def kl_per_dimension(q: Distribution) -> Tensor | None:
    """KL(q_j || N(0, 1)) of each latent dimension, a mean over images, nats, [Z]; None where q is no Gaussian."""
    return q.standard_normal_kl().mean(dim=0) if isinstance(q, DiagonalGaussian | FullGaussian) else None


@torch.no_grad()
def kl_bars(model: VAE, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
    """KL per dimension over these images [B, C, H, W], a bar each, the most used first; {} where it is not known."""
    kl = kl_per_dimension(model.posterior_of(images, labels))
    if kl is None:
        return {}
    title = f"KL per dimension, {len(images)} held-out images, nats"
    return {"kl_per_dimension": bars(kl.sort(descending=True).values, title, "latent dimension, the most used first")}


@torch.no_grad()
def traversals(model: VAE, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, int]:
    """The first image's code with one dimension at a time moved from -3 to 3: a row each, most used first.

    The order is that of the KL per dimension over these images [B, C, H, W], or of the variance of their codes.
    Returns the images and how many stand in a row.
    """
    q = model.posterior_of(images, labels)
    kl = kl_per_dimension(q)
    use = q.mean.var(dim=0) if kl is None else kl
    order = use.argsort(descending=True)[:DIMENSIONS]
    codes = q.mean[:1].repeat(len(order), VALUES, 1)  # [rows, values, Z]
    values = torch.linspace(-RANGE, RANGE, VALUES, device=codes.device, dtype=codes.dtype)
    codes[torch.arange(len(order)), :, order] = values
    first = None if labels is None else labels[:1].expand(len(order) * VALUES)
    return model.decode(model.labelled(codes.flatten(0, 1), first)).float(), VALUES
