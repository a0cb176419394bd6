"""Pictures of the codes: a scatter plot of held-out images' codes, and images decoded over a plane of codes."""

import importlib.util
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.evaluation.fitted_priors import COMPONENTS
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.latent_density import GaussianMixture
from lightning_gen.models.use import Codes
from lightning_gen.networks.shapes import is_vector
from lightning_gen.pictures import Grid, Mosaic, Picture, Scatter

PROJECTIONS = ("pca", "tsne", "umap")
NEIGHBOUR_POINTS = 2000  # t-SNE and UMAP of more points take minutes
PLANE_SIDE = 20  # decoded images per side
PLANE_POINTS = 1000  # codes shown on the decoded images, which more would hide
ENOUGH_CODES = 200  # to fit it
ROWS, HALF = 8, 5  # samples of each: rows and columns
PLANE_RANGE = (0.01, 0.99)  # the plane goes from the first to the second quantile of each code


def check_projection(kind: str | None) -> None:
    """Raise a UserError for a projection that does not exist or is not installed."""
    if kind not in (None, *PROJECTIONS):
        raise UserError(f"evaluation.projection={kind} does not exist: use {', '.join(PROJECTIONS)} or null.")
    if kind == "umap" and importlib.util.find_spec("umap") is None:
        raise UserError(
            "evaluation.projection=umap needs `pip install umap-learn`; or set evaluation.projection=tsne."
        )


class Projected(NamedTuple):
    """Points [N, 2] for codes, and what their two axes are."""

    points: Tensor
    axes: tuple[str, str]


def project(codes: Tensor, kind: str, seed: int = 0) -> Projected:
    """Points from codes [N, Z]; codes of two dimensions are returned as they are.

    `pca`: the first two principal components; `tsne`: t-SNE (van der Maaten & Hinton 2008) by scikit-learn; `umap`:
    UMAP (McInnes et al. 2018) by umap-learn.
    """
    check_projection(kind)
    if codes.shape[1] <= 2:
        padded = torch.nn.functional.pad(codes, (0, 2 - codes.shape[1]))
        return Projected(padded, ("code dimension 1", "code dimension 2" if codes.shape[1] == 2 else ""))
    if kind == "tsne":
        from sklearn.manifold import TSNE

        fitted = TSNE(perplexity=min(30.0, (len(codes) - 1) / 3), random_state=seed).fit_transform(codes.numpy())
        return Projected(torch.from_numpy(fitted), ("t-SNE, first dimension", "t-SNE, second dimension"))
    if kind == "umap":
        from umap import UMAP

        fitted = UMAP(random_state=seed).fit_transform(codes.numpy())
        return Projected(torch.from_numpy(fitted), ("UMAP, first dimension", "UMAP, second dimension"))
    centred = codes.double() - codes.double().mean(dim=0)
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    shares = (100 * variances.flip(0)[:2] / variances.sum()).tolist()
    first, second = (
        f"{which} principal component, {share:.0f} % of the variance"
        for which, share in zip(("first", "second"), shares, strict=True)
    )
    return Projected((centred @ directions[:, -2:].flip(1)).float(), (first, second))


@torch.no_grad()
def plane(model: GenerativeModel, codes: Tensor) -> Mosaic:
    """Images decoded on a grid over the rectangle that contains the codes [N, 2].

    Row by row from the top left; the second code increases upwards, as in the scatter plot.
    """
    low, high = (torch.quantile(codes, q, dim=0) for q in PLANE_RANGE)
    across = torch.linspace(float(low[0]), float(high[0]), PLANE_SIDE)
    up = torch.linspace(float(high[1]), float(low[1]), PLANE_SIDE)
    rows, columns = torch.meshgrid(up, across, indexing="ij")
    images = model.decode(torch.stack([columns, rows], dim=-1).view(-1, 2).to(model.device)).float().cpu()
    half = (high - low) / (2 * (PLANE_SIDE - 1))  # of an image, whose code is in its middle
    (left, bottom), (right, top) = (low - half).tolist(), (high + half).tolist()
    return Mosaic(images, PLANE_SIDE, (left, right, bottom, top))


def latent_pictures(
    model: GenerativeModel, found: Codes, classes: tuple[str, ...], projection: str
) -> dict[str, Picture]:
    """`latents`, a scatter plot of the codes of held-out images; `plane`, for two dimensions; and `priors`.

    `plane` has images decoded over the plane of codes behind the points. `priors` has samples of the prior N(0, I)
    beside those of a mixture that is fitted to the codes.
    """
    codes, labels = found
    shown = codes
    if projection != "pca" and codes.shape[1] > 2:
        shown, labels = codes[:NEIGHBOUR_POINTS], None if labels is None else labels[:NEIGHBOUR_POINTS]
    points, axes = project(shown, projection)
    title = f"Codes of {len(shown):,} test {model.unit}"
    by_class = "" if labels is None else ", coloured by class"
    result: dict[str, Picture] = {"latents": Scatter(points, title + by_class, axes, labels, classes)}
    of_images = model.can_sample and not model.num_classes and not is_vector(model.image_shape)
    if codes.shape[1] == 2 and of_images:
        some = codes[:PLANE_POINTS]
        title = f"Images decoded over the plane of codes; codes of {len(some):,} test images"
        of_some = None if labels is None else labels[:PLANE_POINTS]
        result["plane"] = Scatter(some, title, axes, of_some, classes, plane(model, codes))
    if of_images and model.on_sphere and len(codes) >= ENOUGH_CODES:
        result["priors"] = beside_mixture(model, codes)
    return result


@torch.no_grad()
def beside_mixture(model: GenerativeModel, codes: Tensor) -> Grid:
    """Samples of the prior N(0, I), and beside them samples of a mixture of Gaussians fitted to these codes [N, Z].

    Where the right ones are better, the codes of images do not fill the prior, and a fitted prior is worth its cost.
    """
    mixture = GaussianMixture(codes.shape[1], COMPONENTS)
    mixture.fit(codes)
    own = model.sample(ROWS * HALF, model.fixed_generator())
    before, model.density = model.density, mixture.to(model.device)
    try:
        fitted = model.sample(ROWS * HALF, model.fixed_generator())
    finally:
        model.density = before
    rows = torch.cat([part.unflatten(0, (ROWS, HALF)) for part in (own, fitted)], dim=1).flatten(0, 1)
    title = (
        f"Samples of the prior N(0, I), and of a mixture of {COMPONENTS} Gaussians fitted to the codes of "
        f"{len(codes):,} test images"
    )
    return Grid(rows, 2 * HALF, title, ["prior"] * HALF + ["mixture"] * HALF, column_breaks=(HALF,))
