"""StyleGAN2's mapping network (Karras et al. 2020), and the conditional discriminator's inner product with one."""

import itertools
import math

import torch
from torch import Tensor, nn

from lightning_gen.distributed import mean_over_processes
from lightning_gen.errors import UserError
from lightning_gen.networks.blocks import split_labels
from lightning_gen.networks.equalized import EqualLinear, leaky, unit_moment
from lightning_gen.networks.precision import full_precision


class Mapping(nn.Module):
    """Latent [B, Z (+ K)] to style [B, style_dim]: code and embedded label, each normalized, through a few layers.

    Z or K may be 0. While training, `w_avg` follows the mean of the styles over the batch of all processes, w_avg <-
    decay w_avg + (1 - decay) mean, from 0; with `w_avg_decay` None there is none.
    """

    w_avg: Tensor | None

    def __init__(
        self, latent_dim: int, num_classes: int, style_dim: int, layers: int, w_avg_decay: float | None
    ) -> None:
        super().__init__()
        self.num_classes, self.w_avg_decay = num_classes, w_avg_decay
        self.embedding = EqualLinear(num_classes, style_dim) if num_classes else None
        sizes = [latent_dim + (style_dim if num_classes else 0), *[style_dim] * layers]
        self.layers = nn.ModuleList(EqualLinear(a, b, rate=0.01) for a, b in itertools.pairwise(sizes))
        self.register_buffer("w_avg", None if w_avg_decay is None else torch.zeros(style_dim))

    def forward(self, latents: Tensor, follow: bool = True) -> Tensor:
        """The style; while training, `w_avg` follows it if `follow` is true."""
        codes, labels = split_labels(latents, self.num_classes)
        parts = [codes] if codes.shape[1] else []
        if self.embedding is not None and labels is not None:
            parts.append(self.embedding(labels))
        x = torch.cat([unit_moment(part) for part in parts], dim=1)
        for layer in self.layers:
            x = leaky(layer(x))
        if follow and self.training and self.w_avg is not None and self.w_avg_decay is not None:
            with torch.no_grad():
                self.w_avg.lerp_(mean_over_processes(full_precision(x).mean(dim=0)), 1 - self.w_avg_decay)
        return x

    def mean_style(self) -> Tensor:
        """`w_avg`, [style_dim].

        Raises:
            UserError: there is none.
        """
        if self.w_avg is None:
            raise UserError(
                "This generator has kept no mean of its styles (networks.decoder.w_avg_decay=null), towards which "
                "they could be truncated."
            )
        return self.w_avg


class LabelProjection(nn.Module):
    """Logits [B] of features [B, F] and one-hot labels [B, K]: <A f, m(y)> / sqrt(F), m a mapping network.

    As in StyleGAN2-ADA's conditional discriminator (Karras et al. 2020): the embedded label is normalized and goes
    through `layers` layers, and A is linear; there is no other head.
    """

    def __init__(self, features: int, num_classes: int, layers: int) -> None:
        super().__init__()
        self.linear = EqualLinear(features, features)
        self.mapping = Mapping(0, num_classes, features, layers, w_avg_decay=None)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        wanted = self.mapping(labels.to(features))
        return (self.linear(features) * wanted).sum(dim=1) / math.sqrt(features.shape[1])
