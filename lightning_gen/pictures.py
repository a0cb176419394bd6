"""Image tensors as pictures that a person can look at."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

SMALLEST_SIDE = 40  # smaller images are enlarged by a whole factor, without smoothing


def grid(images: Tensor, columns: int) -> Image.Image:
    """Images float [N, C, H, W] in [0, 1] side by side, `columns` in a row, with a white line between."""
    from torchvision.utils import make_grid

    images = images.detach().float().cpu().clamp(0, 1)
    factor = -(-SMALLEST_SIDE // min(images.shape[-2:]))
    images = images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    return to_picture(make_grid(images, nrow=columns, padding=2, pad_value=1.0))


def to_picture(image: Tensor) -> Image.Image:
    """One image float [C, H, W] in [0, 1] as 8-bit grey or RGB."""
    array = image.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array[0]) if len(array) == 1 else Image.fromarray(array.transpose(1, 2, 0))


def save_picture(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
