"""Pictures of the codes: a scatter plot of held-out images' codes, and images decoded over a plane of codes."""

import importlib.util

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import Codes

PROJECTIONS = ("pca", "tsne", "umap")
NEIGHBOUR_POINTS = 2000  # t-SNE and UMAP of more points take minutes
PLANE_SIDE = 20  # decoded images per side
PLANE_RANGE = (0.01, 0.99)  # the plane goes from the first to the second quantile of each code


def check_projection(kind: str | None) -> None:
    """Raise a UserError for a projection that does not exist or is not installed."""
    if kind not in (None, *PROJECTIONS):
        raise UserError(f"evaluation.projection={kind} does not exist: use {', '.join(PROJECTIONS)} or null.")
    if kind == "umap" and importlib.util.find_spec("umap") is None:
        raise UserError(
            "evaluation.projection=umap needs `pip install umap-learn`; or set evaluation.projection=tsne."
        )


def project(codes: Tensor, kind: str, seed: int = 0) -> Tensor:
    """Points [N, 2] from codes [N, Z]; codes of two dimensions are returned as they are.

    `pca`: the first two principal components; `tsne`: t-SNE (van der Maaten & Hinton 2008) by scikit-learn; `umap`:
    UMAP (McInnes et al. 2018) by umap-learn.
    """
    check_projection(kind)
    if codes.shape[1] <= 2:
        return torch.nn.functional.pad(codes, (0, 2 - codes.shape[1]))
    if kind == "tsne":
        from sklearn.manifold import TSNE

        fitted = TSNE(perplexity=min(30.0, (len(codes) - 1) / 3), random_state=seed).fit_transform(codes.numpy())
        return torch.from_numpy(fitted)
    if kind == "umap":
        from umap import UMAP

        return torch.from_numpy(UMAP(random_state=seed).fit_transform(codes.numpy()))
    centred = codes.double() - codes.double().mean(dim=0)
    return (centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)).float()


def scatter(points: Tensor, labels: Tensor | None, classes: tuple[str, ...], title: str) -> Image.Image:
    """A scatter plot of points [N, 2], with a colour for each class and a legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(8, 7), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    x, y = points.numpy().T
    size = min(max(20_000 / len(points), 4), 25)  # square points
    if labels is None:
        axes.scatter(x, y, s=size, linewidths=0, alpha=0.7)
    else:
        for index, name in enumerate(classes):
            mine = torch.eq(labels, index).numpy()
            axes.scatter(x[mine], y[mine], s=size, linewidths=0, alpha=0.7, color=f"C{index}", label=name)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=(60 / size) ** 0.5, frameon=False)
    axes.set_title(title)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


@torch.no_grad()
def plane(model: GenerativeModel, codes: Tensor) -> Tensor:
    """Images [PLANE_SIDE^2, C, H, W] decoded on a grid over the rectangle that contains the codes [N, 2].

    Row by row from the top left; the second code increases upwards, as in the scatter plot.
    """
    low, high = (torch.quantile(codes, q, dim=0) for q in PLANE_RANGE)
    across = torch.linspace(float(low[0]), float(high[0]), PLANE_SIDE)
    up = torch.linspace(float(high[1]), float(low[1]), PLANE_SIDE)
    rows, columns = torch.meshgrid(up, across, indexing="ij")
    return model.decode(torch.stack([columns, rows], dim=-1).view(-1, 2).to(model.device)).float().cpu()


def latent_pictures(
    model: GenerativeModel, found: Codes, classes: tuple[str, ...], projection: str
) -> dict[str, Image.Image | tuple[Tensor, int]]:
    """`latents`, a scatter plot of the codes of held-out images, and for codes of two dimensions `plane`."""
    codes, labels = found
    shown = codes
    if projection != "pca" and codes.shape[1] > 2:
        shown, labels = codes[:NEIGHBOUR_POINTS], None if labels is None else labels[:NEIGHBOUR_POINTS]
    title = f"{len(shown):,} test images" if codes.shape[1] <= 2 else f"{len(shown):,} test images, {projection}"
    result: dict[str, Image.Image | tuple[Tensor, int]] = {
        "latents": scatter(project(shown, projection), labels, classes, title)
    }
    if codes.shape[1] == 2 and model.can_sample and not model.num_classes:
        result["plane"] = (plane(model, codes), PLANE_SIDE)
    return result
