"""The discriminator: an encoder, a linear head, and the ways to condition it on class labels."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.models.base import EncoderFactory
from lightning_gen.networks.conditioning import with_label_channels
from lightning_gen.networks.shapes import ImageShape

Conditioning = Literal["concat", "projection", "auxiliary"]


class Judged(NamedTuple):
    """What a discriminator says of images."""

    logits: Tensor  # [B]
    classes: Tensor | None  # class logits [B, K] of an auxiliary head
    features: Tensor  # [B, F] of the encoder


class Discriminator(nn.Module):
    """Maps images [B, C, H, W] in [0, 1], and one-hot labels [B, K] if there are classes, to logits [B].

    `conditioning`, for K > 0 classes:

    - `concat`: the label is added to the image as constant channels (Mirza & Osindero 2014).
    - `projection`: the inner product of the features and the label's embedding is added to the logit (Miyato & Koyama
      2018, eq. 3). A network whose paper has another form provides it as `make_projection`.
    - `auxiliary`: a second head predicts the class (Odena et al. 2017).
    """

    def __init__(
        self,
        encoder: EncoderFactory,
        image_shape: ImageShape,
        conditioning: Conditioning = "projection",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        self.conditioning = conditioning if num_classes else None
        channels, height, width = image_shape
        if self.conditioning == "concat":
            channels += num_classes
        self.encoder = encoder(image_shape=(channels, height, width))
        features: int = self.encoder.num_features  # type: ignore[assignment]
        own = getattr(self.encoder, "make_projection", None) if self.conditioning == "projection" else None
        self.projection: nn.Module | None = None if own is None else own(num_classes)
        if self.projection is None:
            self.head = make_head(self.encoder, 1)
        if self.conditioning == "projection" and self.projection is None:
            self.embedding = nn.Linear(num_classes, features, bias=False)  # an embedding, for one-hot labels
        if self.conditioning == "auxiliary":
            self.class_head = make_head(self.encoder, num_classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(images, labels).logits

    def judge(self, images: Tensor, labels: Tensor | None = None) -> Judged:
        """Logits, class logits and features of images."""
        scaled = 2 * images - 1  # to [-1, 1], as in DCGAN
        if self.conditioning == "concat":
            assert labels is not None
            scaled = with_label_channels(scaled, labels)
        features = self.encoder(scaled)
        if self.projection is not None:
            return Judged(self.projection(features, labels), None, features)
        logits = self.head(features).squeeze(1)
        if self.conditioning == "projection":
            assert labels is not None
            logits = logits + (self.embedding(labels.to(features)) * features).sum(dim=1)
        guessed = self.class_head(features) if self.conditioning == "auxiliary" else None
        return Judged(logits, guessed, features)


def make_head(encoder: nn.Module, outputs: int) -> nn.Module:
    """A linear layer on the encoder's features; the encoder can provide its own kind as `make_head`."""
    make = getattr(encoder, "make_head", None)
    return nn.Linear(encoder.num_features, outputs) if make is None else make(outputs)  # type: ignore[arg-type]


@torch.no_grad()
def field(discriminator: Discriminator, side: int = 100) -> Tensor:
    """The logits on a grid over the unit square, [side, side], first row at the bottom: for data of 2D points."""
    weight = next(discriminator.parameters())
    across = torch.linspace(0, 1, side).to(weight)
    y, x = torch.meshgrid(across, across, indexing="ij")
    return discriminator(torch.stack([x, y], dim=-1).view(-1, 1, 1, 2)).view(side, side)
