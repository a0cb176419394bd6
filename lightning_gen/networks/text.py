"""The generator that a lecture text spells out; conf/networks/text_gan.yaml says what the text leaves open."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_gen.errors import UserError
from lightning_gen.networks.conv import normalization
from lightning_gen.networks.mlp import activation as make_activation
from lightning_gen.networks.shapes import ImageShape, refuse_points

START = 4  # pixels a side of the first map


class TextGenerator(nn.Module):
    """Latent [B, Z] to raw image [B, C, H, W] without an output activation.

    Dense layers to 4x4 maps, one for each number of channels in `dense`, then transposed convolutions to the channels
    in `widths` and to those of the image. Each doubles both sides, with a kernel of 4. The last one does what is
    left: with two `widths`, x4 with a kernel of 8 for 64x64 and x2 for 32x32.

    Args:
        latent_dim: Z.
        image_shape: (C, H, W), a square whose side is 4 pixels times a power of two, so large that the last layer
            at least doubles it.
        dense: channels of the 4x4 maps after each dense layer.
        widths: channels after each transposed convolution but the last.
        norm: `batch`, `group` or `none`, before each activation.
        activation: a name from `mlp.ACTIVATIONS`.

    Raises:
        UserError: images of another size.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        dense: Sequence[int] = (256, 128, 64),
        widths: Sequence[int] = (128, 256),
        norm: str = "none",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        refuse_points(image_shape, "text_gan")
        channels, height, width = image_shape
        before_last = START * 2 ** len(widths)
        last = height // before_last
        if height != width or height != last * before_last or last < 2 or last & (last - 1):
            raise UserError(
                f"networks=text_gan makes images of {2 * before_last}x{2 * before_last} or this times a power of "
                f"two, not {height}x{width}: set dataset.size=64, or networks=conv."
            )
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise([latent_dim, *(START**2 * size for size in dense)]):
            maps = (fan_out // START**2, START, START)  # normalized by channels, like the rest
            layers += [nn.Flatten(), nn.Linear(fan_in, fan_out), nn.Unflatten(1, maps), normalization(norm, maps[0])]
            layers.append(make_activation(activation))
        for fan_in, fan_out in itertools.pairwise([dense[-1], *widths]):
            layers += [nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1), normalization(norm, fan_out)]
            layers.append(make_activation(activation))
        layers.append(nn.ConvTranspose2d(widths[-1], channels, 2 * last, stride=last, padding=last // 2))
        self.net = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        return self.net(latents)  # [B, C, H, W]
