"""How class labels reach a network."""

import inspect
from collections.abc import Callable
from typing import Literal

from torch import Tensor, cat, nn

from lightning_gen.networks.shapes import ImageShape

# How a conditional discriminator uses the label: the network's own way, or that of Miyato & Koyama 2018.
Projection = Literal["own", "plain"]


def conditional_decoder(
    decoder: Callable[..., nn.Module], latent_dim: int, num_classes: int, image_shape: ImageShape
) -> nn.Module:
    """Build a decoder of latents [B, Z + K], a code and its one-hot label; K = 0 for a model without classes.

    A network whose constructor takes `num_classes` uses the label in its own way, such as conditional batch norm. Any
    other network sees the label as additional latent dimensions (Mirza & Osindero 2014).
    """
    if num_classes and "num_classes" in inspect.signature(decoder).parameters:
        return decoder(latent_dim=latent_dim, num_classes=num_classes, image_shape=image_shape)
    return decoder(latent_dim=latent_dim + num_classes, image_shape=image_shape)


def with_label_channels(images: Tensor, labels: Tensor) -> Tensor:
    """Append one constant channel per class: images [B, C, H, W], one-hot labels [B, K] to [B, C + K, H, W]."""
    maps = labels.to(images)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return cat([images, maps], dim=1)
