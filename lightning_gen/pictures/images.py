"""Image tensors: checked, converted between 8 bits and [0, 1], and saved."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


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
