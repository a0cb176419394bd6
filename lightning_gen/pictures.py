"""From image tensors to pictures that can be saved and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_gen.networks.shapes import POINTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST_SIDE = 40  # pixels; smaller images are enlarged by a whole factor, without smoothing


def grid(images: Tensor, columns: int) -> Image.Image:
    """A grid of images [N, C, H, W], uint8 or float in [0, 1], `columns` in a row with white lines between.

    Points in the plane, [N, 1, 1, 2], become one scatter plot instead.
    """
    from torchvision.utils import make_grid

    images = to_float(images.detach())
    if images.shape[1:] == POINTS:
        return scatter(images.flatten(1))
    images = images.float().cpu().clamp(0, 1)
    factor = -(-SMALLEST_SIDE // min(images.shape[-2:]))
    images = images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    return to_picture(make_grid(images, nrow=columns, padding=2, pad_value=1.0))


def scatter(points: Tensor, field: Tensor | None = None) -> Image.Image:
    """A scatter plot of points [N, 2] in the unit square, on an optional coloured `field` [S, S]; y grows upwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=120)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    x, y = points.detach().float().cpu().unbind(dim=1)
    if field is not None:
        values = field.detach().float().cpu()
        limit = max(float(values.abs().max()), 1e-6)  # white is 0: the discriminator is undecided
        extent = (0.0, 1.0, 0.0, 1.0)
        axes.imshow(values.numpy(), cmap="RdBu", vmin=-limit, vmax=limit, origin="lower", extent=extent)
    axes.scatter(x.numpy(), y.numpy(), s=4, alpha=0.5, linewidths=0, color="C0" if field is None else "black")
    return rendered(figure)


def bars(values: Tensor, title: str, xlabel: str) -> Image.Image:
    """A bar chart of values [N]."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3), dpi=120)
    place = (0.11, 0.17, 0.87, 0.72)  # a layout that matplotlib finds takes longer than the picture
    axes = figure.add_axes(place, title=title, xlabel=xlabel, xlim=(-0.6, len(values) - 0.4))
    axes.bar(range(len(values)), values.detach().float().cpu().numpy())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return rendered(figure)


def rendered(figure: Figure) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def to_picture(image: Tensor) -> Image.Image:
    """Convert one image, float [C, H, W] in [0, 1], to 8-bit grey or RGB."""
    array = image.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array[0]) if len(array) == 1 else Image.fromarray(array.transpose(1, 2, 0))


def save_picture(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def to_uint8(images: Tensor) -> Tensor:
    """Round float images in [0, 1] to 8 bits, as in a PNG file; leave uint8 images unchanged.

    Values outside [0, 1] are clamped and NaN becomes black, so that a model that has diverged gets a bad metric
    instead of none.
    """
    if images.dtype == torch.uint8:
        return images
    return images.float().nan_to_num(nan=0.0).clamp(0, 1).mul(255).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 in [0, 1]; leave float images unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def as_images(images: Tensor | np.ndarray, shape: tuple[int, int, int] | None = None) -> Tensor:
    """Check images from a user and return them as a tensor [N, C, H, W], uint8 or floating point in [0, 1].

    Args:
        images: a tensor on any device, or a numpy array, which is copied.
        shape: the (C, H, W) that they must have; None: any.

    Raises:
        ValueError: a wrong shape or type, no images, or floating-point values outside [0, 1].
    """
    found = images.detach() if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    if found.ndim != 4:
        raise ValueError(
            f"expected images [N, C, H, W], got {list(found.shape)}: pass one image as image[None], and grey images "
            f"without a channel as images[:, None]."
        )
    if len(found) == 0:
        raise ValueError("expected one image or more, got none.")
    if shape is not None and found.shape[1:] != tuple(shape):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"expected images [N, {wanted}], as the model was trained on, got {list(found.shape)}.")
    if found.dtype == torch.uint8:
        return found
    if not found.is_floating_point():
        raise ValueError(f"expected uint8 images or float images in [0, 1], got {found.dtype}.")
    low, high = found.min().item(), found.max().item()
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise ValueError(f"expected float images in [0, 1], got values from {low:.4g} to {high:.4g}: rescale them.")
    return found
