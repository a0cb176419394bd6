"""The patch discriminator (Isola et al. 2017, app. 6.1.2), as VQ-GAN uses it (Esser et al. 2021)."""

from torch import Tensor, nn

from lightning_gen.errors import UserError
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.ranges import Count


def halvings_of_patches(image_shape: ImageShape, most: int) -> int:
    """How often the discriminator halves images: `most` times, or as often as leaves 3 pixels on the shorter side.

    Raises:
        UserError: images of fewer than 6 pixels.
    """
    short = min(image_shape[1:])
    if short < 6:
        raise UserError(
            f"model=vqgan needs images of at least 6x6, not {image_shape[1]}x{image_shape[2]}: set dataset.size."
        )
    return max(count for count in range(1, most + 1) if short >> count >= 3)


class PatchDiscriminator(nn.Module):
    """Image [B, C, H, W] in [-1, 1] to a map of logits [B, h, w], one for each of its overlapping patches.

    4x4 convolutions, leaky ReLUs and batch norm. With `layers` = 3 a patch has 70x70 pixels and three channels give
    2.77 million parameters. Smaller images are halved fewer times.
    """

    def __init__(self, image_shape: ImageShape, width: Count = 64, layers: Count = 3) -> None:
        super().__init__()
        halved = halvings_of_patches(image_shape, layers)
        widths = [width * min(2**index, 8) for index in range(halved + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(image_shape[0], width, kernel_size=4, stride=2, padding=1)]
        blocks.append(nn.LeakyReLU(0.2))
        for index in range(1, halved + 1):
            stride = 2 if index < halved else 1
            blocks += [
                nn.Conv2d(widths[index - 1], widths[index], kernel_size=4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[index]),
                nn.LeakyReLU(0.2),
            ]
        self.net = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, kernel_size=4, padding=1))
        for module in self.modules():  # as in the authors' code
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images).squeeze(1)
