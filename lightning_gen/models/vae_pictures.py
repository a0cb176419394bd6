"""Pictures of the latent dimensions of a VAE."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_gen.data.words import IMAGES
from lightning_gen.objectives.posteriors import DiagonalGaussian, Distribution, FullGaussian
from lightning_gen.pictures import Bars, Grid, Picture

DIMENSIONS, VALUES, RANGE = 8, 10, 3.0  # rows, columns, and the largest distance from 0
MOST_BARS = 64


def kl_per_dimension(q: Distribution) -> Tensor | None:
    """The KL of each latent dimension from N(0, 1), averaged over images: [Z], in nats; None if q is not Gaussian."""
    return q.standard_normal_kl().mean(dim=0) if isinstance(q, DiagonalGaussian | FullGaussian) else None


def kl_bars(q: Distribution, unit: str = IMAGES) -> dict[str, Picture]:
    """A bar chart of the KL per dimension, largest first; empty if it is not known in closed form.

    `unit`: what the posteriors are of.
    """
    kl = kl_per_dimension(q)
    if kl is None:
        return {}
    values, order = kl.sort(descending=True)
    most = f", the largest {MOST_BARS}" if len(kl) > MOST_BARS else ""
    title = f"KL of each latent dimension from N(0, 1), largest first{most}"
    names = [f"z{index}" for index in order[:MOST_BARS].tolist()]
    ylabel = f"nats, mean over {len(q.mean):,} test {unit}"
    return {"kl_per_dimension": Bars(values[:MOST_BARS], names, title, "latent dimension", ylabel)}


def traversals(q: Distribution, decode: Callable[[Tensor], Tensor]) -> Grid:
    """Images of latent traversals: in each row one dimension of the first image's code goes from -3 to 3.

    The rows show the dimensions with the largest KL over the images of the posteriors q or, where that is not known,
    with the largest variance of codes. `decode` maps codes [N, Z] to images [N, C, H, W].
    """
    kl = kl_per_dimension(q)
    use, word = (q.mean.var(dim=0), "variance of codes") if kl is None else (kl, "KL")
    order = use.argsort(descending=True)[:DIMENSIONS]
    codes = q.mean[:1].repeat(len(order), VALUES, 1)  # [rows, values, Z]
    values = torch.linspace(-RANGE, RANGE, VALUES, device=codes.device, dtype=codes.dtype)
    codes[torch.arange(len(order)), :, order] = values
    unit = "" if kl is None else " nats"
    shown = f" (the {len(order)} of {len(use)} with the largest {word})" if len(use) > len(order) else ""
    return Grid(
        decode(codes.flatten(0, 1)),
        VALUES,
        f"Traversals: in each row one dimension of the code of a test image goes from -3 to 3{shown}",
        [f"{value:+.1f}" for value in values.tolist()],
        [f"z{index}: {word} {use[index]:.2f}{unit}" for index in order.tolist()],
    )
