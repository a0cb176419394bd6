"""BigGAN for small images (Brock et al. 2019, app. B), as its reproductions train it on CIFAR-10.

Weights start orthogonal and biases at 0. The published networks use networks.spectral_norm=both.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.errors import UserError
from lightning_gen.networks.blocks import Attention, ConditionalNorm, DownBlock, UpBlock, split_labels
from lightning_gen.networks.initialization import initialize
from lightning_gen.networks.resnet import check_pool, pooled
from lightning_gen.networks.shapes import ImageShape, halvings, halvings_above_seven


def widths(multipliers: int | Sequence[int], width: int, count: int, part: str) -> list[int]:
    """The channels of `count` layers: `width` times each multiplier, or times the same number for all.

    Raises:
        UserError: the list has another length than `count`.
    """
    if isinstance(multipliers, int):
        multipliers = [multipliers] * count
    if len(multipliers) != count:
        raise UserError(
            f"networks.{part}.multipliers={list(multipliers)} must be {count} numbers for these images, "
            "or one number for all."
        )
    return [width * multiplier for multiplier in multipliers]


class BigGANEncoder(nn.Module):
    """Image [B, C, H, W] in [-1, 1] to features [B, F], by residual blocks and pooling over positions.

    The first blocks halve the resolution, the last `plain_blocks` keep it. Self-attention follows block number
    `attention_after`, counted from 1; 0 means none.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        width: int = 96,
        multipliers: int | Sequence[int] = 2,
        plain_blocks: int = 2,
        attention_after: int = 1,
        pool: str = "sum",
    ) -> None:
        super().__init__()
        check_pool(pool)
        down = halvings_above_seven(image_shape, "biggan")
        channels = [image_shape[0], *widths(multipliers, width, down + plain_blocks, "encoder")]
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(channels)):
            layers.append(DownBlock(fan_in, fan_out, down=i < down, first=i == 0))
            if i + 1 == attention_after:
                layers.append(Attention(fan_out))
        self.net = nn.Sequential(*layers)
        self.pool, self.num_features = pool, channels[-1]
        initialize(self, "orthogonal", "relu")

    def make_head(self, outputs: int) -> nn.Module:
        """A linear layer on the features, with the initial weights of the published recipe."""
        head = nn.Linear(self.num_features, outputs)
        initialize(head, "orthogonal", "linear")
        return head

    def forward(self, images: Tensor) -> Tensor:
        return pooled(F.relu(self.net(images)), self.pool)  # [B, F]


class BigGANDecoder(nn.Module):
    """Latent [B, Z (+ K)] to raw image [B, C, H, W].

    The code is split into chunks, one for the first layer and one for each block. A block's batch norm is conditioned
    on its chunk. With `num_classes` = K > 0, the last K values of the latent are a one-hot label; all blocks share
    its embedding of size `embedding`, which is put in front of each chunk. Self-attention follows block number
    `attention_after`, counted from 1; 0 means none. Spectral norm leaves the embedding as it is, as in the authors'
    code, unless `normalize_embedding`.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        num_classes: int = 0,
        width: int = 96,
        multipliers: int | Sequence[int] = 4,
        attention_after: int = 2,
        embedding: int = 128,
        norm: str = "batch",
        normalize_embedding: bool = False,
    ) -> None:
        super().__init__()
        depth = halvings(image_shape, network="biggan")
        channels = widths(multipliers, width, depth + 1, "decoder")
        chunk = latent_dim // (depth + 1)
        self.num_classes, self.chunks = num_classes, [latent_dim - depth * chunk, *[chunk] * depth]
        self.start = (channels[0], image_shape[1] >> depth, image_shape[2] >> depth)
        self.embedding = nn.Linear(num_classes, embedding, bias=False) if num_classes else None
        self.unnormalized = () if normalize_embedding or not num_classes else ("embedding",)
        condition_dim = chunk + (embedding if num_classes else 0)
        self.linear = nn.Linear(self.chunks[0], self.start[0] * self.start[1] * self.start[2])
        self.blocks = nn.ModuleList(UpBlock(a, b, condition_dim, norm) for a, b in itertools.pairwise(channels))
        self.attention_after = attention_after
        self.attention = Attention(channels[attention_after]) if 0 < attention_after <= depth else None
        self.norm = ConditionalNorm(channels[-1], kind=norm)
        self.conv = nn.Conv2d(channels[-1], image_shape[0], 3, padding=1)
        initialize(self, "orthogonal", "relu")

    def forward(self, latents: Tensor) -> Tensor:
        codes, labels = split_labels(latents, self.num_classes)
        first, *chunks = codes.split(self.chunks, dim=1)
        if self.embedding is not None and labels is not None:
            shared = self.embedding(labels)
            chunks = [torch.cat([shared, chunk], dim=1) for chunk in chunks]
        x = self.linear(first).unflatten(1, self.start)
        for i, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True), start=1):
            x = block(x, chunk)
            if self.attention is not None and i == self.attention_after:
                x = self.attention(x)
        return self.conv(F.relu(self.norm(x)))  # [B, C, H, W]
