"""The residual networks of SNGAN for 32x32 (Miyato et al. 2018, table 4) and, without spectral norm, of WGAN-GP.

Initial weights as in the published recipe: Xavier uniform with gain sqrt(2) for the 3x3 convolutions inside blocks
and gain 1 elsewhere, biases 0.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.networks.blocks import ConditionalNorm, DownBlock, UpBlock, split_labels
from lightning_gen.networks.shapes import ImageShape, halvings, halvings_above_seven


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (UpBlock, DownBlock)):
            for conv in (module.conv1, module.conv2):
                nn.init.xavier_uniform_(conv.weight, 2**0.5)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            if isinstance(module.shortcut, nn.Conv2d):
                xavier(module.shortcut)


def xavier(layer: nn.Linear | nn.Conv2d) -> None:
    """Xavier uniform with gain 1, bias 0 (Glorot & Bengio 2010)."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def pooled(x: Tensor, pool: str) -> Tensor:
    """[B, C, H, W] to [B, C]: the `sum` or the `mean` over positions."""
    return x.sum(dim=(2, 3)) if pool == "sum" else x.mean(dim=(2, 3))


def check_pool(pool: str) -> None:
    """Raise a UserError unless `pool` is `sum` or `mean`."""
    if pool not in ("sum", "mean"):
        raise UserError(f"networks.encoder.pool={pool}: use sum or mean.{did_you_mean(pool, ('sum', 'mean'))}")


class ResNetEncoder(nn.Module):
    """Image [B, C, H, W] in [-1, 1] to features [B, width], by residual blocks and pooling over positions.

    The first blocks halve the resolution, the last `plain_blocks` keep it. `pool` is `sum` (SNGAN) or `mean`
    (WGAN-GP, Gulrajani et al. 2017). `head_bias` is for `make_head`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        width: int = 128,
        plain_blocks: int = 2,
        pool: str = "sum",
        head_bias: bool = True,
    ) -> None:
        super().__init__()
        check_pool(pool)
        down = halvings_above_seven(image_shape, "resnet")
        self.blocks = nn.Sequential(
            DownBlock(image_shape[0], width, first=True),
            *(DownBlock(width, width, down=i < down) for i in range(1, down + plain_blocks)),
        )
        self.pool, self.num_features, self.head_bias = pool, width, head_bias
        _initialize(self)

    def make_head(self, outputs: int) -> nn.Module:
        """A linear layer on the features, with the initial weights of the published recipe."""
        head = nn.Linear(self.num_features, outputs, bias=self.head_bias)
        xavier(head)
        return head

    def forward(self, images: Tensor) -> Tensor:
        return pooled(F.relu(self.blocks(images)), self.pool)  # [B, F]


class ResNetDecoder(nn.Module):
    """Latent [B, Z (+ K)] to raw image [B, C, H, W] by residual blocks of one width, each doubling the resolution.

    With `num_classes` = K > 0 the last K values of the latent are a one-hot label, and the normalization in the
    blocks has a gain and a bias for each class.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        num_classes: int = 0,
        width: int = 256,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        depth = halvings(image_shape, network="resnet")
        channels, height, width_px = image_shape
        self.num_classes = num_classes
        self.start = (width, height >> depth, width_px >> depth)
        self.linear = nn.Linear(latent_dim, width * self.start[1] * self.start[2])
        self.blocks = nn.ModuleList(UpBlock(width, width, num_classes, norm) for _ in range(depth))
        self.norm = ConditionalNorm(width, kind=norm)
        self.conv = nn.Conv2d(width, channels, 3, padding=1)
        _initialize(self)
        xavier(self.linear)
        xavier(self.conv)

    def forward(self, latents: Tensor) -> Tensor:
        codes, labels = split_labels(latents, self.num_classes)
        x = self.linear(codes).unflatten(1, self.start)
        for block in self.blocks:
            x = block(x, labels)
        return self.conv(F.relu(self.norm(x)))  # [B, C, H, W]
