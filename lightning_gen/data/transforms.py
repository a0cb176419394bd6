"""Changes to images: size and channels once before training, random changes for each batch on its device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.data.imageset import CHUNK
from lightning_gen.errors import UserError
from lightning_gen.pictures import to_float
from lightning_gen.randomness import Noise, StepNoise


@dataclass(frozen=True)
class BatchTransform:
    """Turns a batch of stored images uint8 [B, C, H, W] into float [B, C, H', W'] in [0, 1].

    Attributes:
        flip: mirror each image left to right with probability 1/2.
        window: side in pixels of a random square that is cut out of each image.
        mutation: each value becomes a random one of 0..255 with this probability (Ren et al. 2019), so that a
            model learns the background of the images more than what they show.
        dequantize: (x + u) / 256 with u ~ U[0, 1) for x in 0..255, so that a density of the result bounds the
            probability of the 8-bit image (Theis et al. 2016, sec. 3.1).
        binarize: each pixel becomes 1 with its grey value as the probability, else 0; drawn at each use (Burda et al.
            2016).
    """

    flip: bool = False
    window: int | None = None
    dequantize: bool = False
    binarize: bool = False
    mutation: float = 0.0

    @property
    def is_random(self) -> bool:
        return bool(self.flip or self.window or self.mutation or self.dequantize or self.binarize)

    def __call__(self, images: Tensor, noise: Noise) -> Tensor:
        """Apply the changes in this order; all random numbers come from `noise`."""
        if self.window is not None:
            images = random_window(images, (self.window, self.window), noise)
        if self.flip:
            images = mirror(images, noise)
        if self.mutation:
            images = mutate(images, noise, self.mutation)
        if self.dequantize:
            return dequantize(images, noise)
        return binarize(images, noise).float() if self.binarize else to_float(images)


def mirror(images: Tensor, noise: Noise) -> Tensor:
    """Mirror each image of [B, C, H, W] left to right with probability 1/2."""
    width = images.shape[-1]
    mirrored = noise.uniform((len(images), 1, 1, 1), images.device) < 0.5
    columns = torch.arange(width, device=images.device)
    return images.gather(3, torch.where(mirrored, width - 1 - columns, columns).expand(images.shape))


def random_window(images: Tensor, size: tuple[int, int], noise: Noise) -> Tensor:
    """Cut a window [B, C, *size] out of each image [B, C, H, W]; all positions are equally likely."""
    count, channels, height, width = images.shape
    draw = noise.uniform((count, 2), images.device)
    top = (draw[:, :1] * (height - size[0] + 1)).long()  # [B, 1]
    left = (draw[:, 1:] * (width - size[1] + 1)).long()
    rows, columns = (torch.arange(side, device=images.device) for side in size)
    pixels = ((top + rows)[:, :, None] * width + (left + columns)[:, None, :]).view(count, 1, -1)
    # A gather of single pixels is five times as fast as indexing with rows and columns.
    return images.flatten(2).gather(2, pixels.expand(-1, channels, -1)).view(count, channels, *size)


def centre(images: Tensor, height: int, width: int) -> Tensor:
    """The central window of height x width pixels, without a copy.

    Raises:
        UserError: the images are smaller.
    """
    have = images.shape[-2:]
    if have[0] < height or have[1] < width:
        raise UserError(f"The images are {have[0]}x{have[1]}, smaller than a crop of {height}x{width}: lower it.")
    top, left = (have[0] - height) // 2, (have[1] - width) // 2
    return images[..., top : top + height, left : left + width]


def mutate(images: Tensor, noise: Noise, probability: float) -> Tensor:
    """Replace each value of uint8 images, with this probability, by one that is uniform in 0..255."""
    uniform = noise.uniform(images.shape, images.device)
    level = (uniform * (256 / probability)).clamp_(max=255)  # those below `probability` are uniform
    return torch.where(uniform < probability, level.to(torch.uint8), images)


def dequantize(images: Tensor, noise: Noise) -> Tensor:
    """(x + u) / 256 with u ~ U[0, 1): values in [0, 1)."""
    uniform = noise.uniform(images.shape, images.device).clamp_(max=1 - 2**-16)  # or 255 + u may round up to 256
    return uniform.add_(images).div_(256)


def binarize(images: Tensor, noise: Noise) -> Tensor:
    """bool, true with probability grey value / 255 for uint8 images: 0 never becomes 1, nor 255 a 0."""
    return noise.uniform(images.shape, images.device) < to_float(images)


def binarize_all(images: Tensor, seed: int) -> Tensor:
    """Binarize all images, uint8 0 or 255, by `seed`; a result depends only on the seed and the image's place."""
    noise, result = StepNoise(seed), torch.empty_like(images)
    for part, start in enumerate(range(0, len(images), CHUNK)):
        noise.start(part)
        chunk = images[start : start + CHUNK]
        result[start : start + CHUNK] = binarize(chunk, noise).to(torch.uint8) * 255
    return result


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 [N, C, H, W] to [N, C, size, size]: the largest central square, resized bilinearly with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    side = min(images.shape[-2:])
    square = centre(images, side, side)
    result = torch.empty(*images.shape[:2], size, size, dtype=torch.uint8)
    for start in range(0, len(images), CHUNK):
        part = square[start : start + CHUNK].float()
        part = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        result[start : start + CHUNK] = part.round_().clamp_(0, 255)
    return result


def set_channels(images: Tensor, channels: int) -> Tensor:
    """Convert grey to colour by repetition, or colour to grey by luma (ITU-R BT.601): uint8 [N, channels, H, W].

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
        return torch.cat([part.clamp(0, 255).to(torch.uint8) for part in parts])
    raise UserError(f"dataset.channels={channels} is not possible from {images.shape[1]} channels: use 1 or 3.")
