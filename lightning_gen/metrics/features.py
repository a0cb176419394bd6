"""What all feature extractors share: frozen, always in evaluation mode, float32, images in [0, 1]."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights of PIL's convert("L")


class FeatureExtractor(nn.Module, ABC):
    """A frozen map from images to feature vectors, in whose space sets of images are compared.

    Attributes:
        name: ``<kind>-<what>-<version>``, for example ``classifier-mnist-v1``; part of every protocol.
        num_features: length d of a feature vector.
        weights_hash: first 12 hex digits of the SHA-256 of the weights.
        native_size: ``(H, W)`` that images are resized to; ``None``: no resizing.
        native_channels: number of channels that images are converted to; ``None``: no conversion.

    A subclass implements ``extract`` and calls ``freeze`` at the end of its constructor.
    """

    name: str
    num_features: int
    weights_hash: str
    native_size: tuple[int, int] | None = None
    native_channels: int | None = None
    interpolation: str = "bilinear"

    @abstractmethod
    def extract(self, images: Tensor) -> Tensor:
        """Features [N, d] of images [N, native_channels, *native_size] in [0, 1]."""

    @property
    def kind(self) -> str:
        """The family of extractor: the first word of the name."""
        return self.name.split("-")[0]

    @property
    def resizer(self) -> str:
        """How images are resized to the native size, for the protocol."""
        if self.native_size is None:
            return "none"
        return f"{self.interpolation}, antialias, to {self.native_size[0]}x{self.native_size[1]}"

    def metric_name(self, metric: str) -> str:
        """The metric's name; with other than Inception features, the kind of extractor is appended."""
        return metric if self.kind == "inception" else f"{metric}_{self.kind}"

    def protocol(self) -> dict[str, str]:
        """The extractor's part of a protocol."""
        return {"extractor": self.name, "weights_hash": self.weights_hash, "resizer": self.resizer}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features of float images [N, C, H, W] in [0, 1], as float32 [N, d]."""
        return self.run(self.extract, images)

    @torch.no_grad()
    def run(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Apply one of the extractor's functions to prepared images, in float32 even under autocast or TF32."""
        # Under bf16 autocast the features and the metric would lose five digits, under TF32 three.
        with torch.autocast(images.device.type, enabled=False), full_float32():
            return function(self.prepare(images)).float()

    def prepare(self, images: Tensor) -> Tensor:
        """Float32 images in [0, 1] of the native size and number of channels.

        Raises:
            ValueError: images that are not floating point [N, C, H, W], or whose channels cannot be converted.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(f"expected float images [N, C, H, W] in [0, 1], got {images.dtype} {list(images.shape)}")
        images = adapt_channels(images.float(), self.native_channels)
        if self.native_size is not None and images.shape[-2:] != self.native_size:
            images = F.interpolate(images, self.native_size, mode=self.interpolation, antialias=True)
            images = images.clamp(0, 1)  # bicubic overshoots
        return images

    def freeze(self) -> None:
        """Turn off gradients and training mode permanently."""
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stay in evaluation mode, so that training a model around the extractor does not change the metric."""
        super().train(False)
        return self


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Turn off TF32 in matrix products and convolutions on GPUs inside the block."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


def adapt_channels(images: Tensor, channels: int | None) -> Tensor:
    """Convert grey to RGB by repetition or RGB to grey by luma: [N, C, H, W] to [N, channels, H, W]."""
    have = images.shape[1]
    if channels is None or have == channels:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1)
    if have == 3 and channels == 1:
        return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    raise ValueError(f"cannot convert images with {have} channels to {channels}")


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """First 12 hex digits of the SHA-256 over names, types, shapes and values; independent of the file format."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:12]
