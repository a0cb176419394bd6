"""Changes of size and of channels, made once for the whole set, before training."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.errors import UserError

CHUNK = 4096  # images at a time, so that the float copies stay small


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 [N, C, H, W] to [N, C, size, size], bilinear with antialiasing, rounded back to uint8."""
    if images.shape[-2:] == (size, size):
        return images
    parts = [
        F.interpolate(part.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        for part in images.split(CHUNK)
    ]
    return torch.cat(parts)


def set_channels(images: Tensor, channels: int) -> Tensor:
    """Grey to colour by repetition, colour to grey by luma (ITU-R BT.601), uint8 [N, channels, H, W].

    Raises:
        UserError: a number of channels other than 1 or 3.
    """
    if images.shape[1] == channels:
        return images
    if channels == 3 and images.shape[1] == 1:
        return images.repeat(1, 3, 1, 1)
    if channels == 1 and images.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        parts = [(part.float() * weights).sum(1, keepdim=True).round() for part in images.split(CHUNK)]
        return torch.cat(parts).clamp(0, 255).to(torch.uint8)
    raise UserError(f"dataset.channels={channels} is not possible from {images.shape[1]} channels: use 1 or 3.")
