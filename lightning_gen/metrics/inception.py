"""Inception-v3 as published with FID: torch-fidelity's port of the TensorFlow graph of 2015-12-05."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_gen.errors import UserError
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.pictures import to_uint8

SHA256_PREFIX = "6726825d"
FILE_NAMES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
SIDE = 299
RESIZERS = {
    "tf1": "TF1 bilinear (torch-fidelity), to 299x299",
    "clean": "bicubic, antialias, float (clean-fid), to 299x299",
}
ENVIRONMENT = "LIGHTNING_GEN_INCEPTION"
SOURCE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE_NAMES[0]}"


class InceptionExtractor(FeatureExtractor):
    """The 2048 pooled features of Inception-v3.

    Args:
        path: the file of weights.
        resize: ``tf1``, TensorFlow 1's bilinear resize to 299x299 without antialiasing, as in the literature; or
            ``clean``, Pillow's bicubic resize of float images with antialiasing, as in clean-fid (Parmar et al.
            2022). Metrics by the latter are called ``fid_clean``.
        sha256_prefix: the first digits of the file's SHA-256. With another prefix than the published one, the
            extractor is named ``inceptionlike-...`` and its metric is not called ``eval/fid``.

    Raises:
        UserError: torch-fidelity is missing, or the file is not the expected one.
    """

    num_features = 2048
    num_classes = 1008
    native_channels = 3

    def __init__(self, path: Path | str, sha256_prefix: str = SHA256_PREFIX, resize: str = "tf1") -> None:
        super().__init__()
        if resize not in RESIZERS:
            raise UserError(f"evaluation.extractor.resize={resize}: use {' or '.join(RESIZERS)}.")
        self.resize = resize
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UserError(
                "evaluation/extractor=inception needs torch-fidelity: pip install torch-fidelity"
            ) from error
        data = Path(path).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if not digest.startswith(sha256_prefix):
            raise UserError(
                f"{path} is not the Inception of FID: its sha256 starts with {digest[:8]}, not {sha256_prefix}. "
                "Set evaluation.extractor.weights to the right file."
            )
        self.name = "inception-v3-tf" if sha256_prefix == SHA256_PREFIX else "inceptionlike-v3"
        self.weights_hash = digest[:12]
        # torch-fidelity unpickles anything; give it a copy that was read with weights_only=True.
        copy = BytesIO()
        torch.save(torch.load(BytesIO(data), map_location="cpu", weights_only=True), copy)
        copy.seek(0)
        with torch.random.fork_rng(devices=[]):  # its constructor draws initial weights
            self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], copy)
        layers = list(self.network.children())  # in the order of the graph; the last is the classifier
        self.layers = (*layers[:-1], nn.Flatten())  # a tuple: not registered twice
        self.freeze()

    @property
    def resizer(self) -> str:
        return RESIZERS[self.resize]

    def metric_name(self, metric: str) -> str:
        return super().metric_name(metric) + ("_clean" if self.resize == "clean" else "")

    def extract(self, images: Tensor) -> Tensor:
        # The network takes 8-bit input; images that were 8-bit get their values back.
        if self.resize == "tf1":
            return self.network(to_uint8(images))[0]
        features = (clean_resize(to_uint8(images), SIDE) - 128) / 128
        for layer in self.layers:
            features = layer(features)
        return features

    @torch.no_grad()
    def logits_from_features(self, features: Tensor) -> Tensor:
        """Logits [N, 1008] for the Inception score, without the bias as in the original code."""
        return features @ self.network.fc.weight.T


def clean_resize(images: Tensor, side: int) -> Tensor:
    """The resize of clean-fid: Pillow's bicubic resize of each channel as a float image (mode "F").

    Args:
        images: uint8 [N, C, H, W].
        side: of the result, in pixels.

    Returns:
        float32 [N, C, side, side], about 0 to 255; neither rounded nor clamped, and bicubic resizing overshoots.
    """
    # Pillow's weights are float64, which MPS does not have.
    images = images.float() if images.device.type == "mps" else images.double()
    return functional.interpolate(images, (side, side), mode="bicubic", antialias=True).float()


def find_inception_weights(path: Path | str | None = None) -> Path | None:
    """The file of weights: the given path, or $LIGHTNING_GEN_INCEPTION, or in the torch hub cache, or ``None``.

    Raises:
        UserError: the path or the variable names a file that does not exist.
    """
    for origin, named in (("evaluation.extractor.weights", path), (ENVIRONMENT, os.environ.get(ENVIRONMENT))):
        if named:
            if not Path(named).is_file():
                raise UserError(f"no Inception weights at {named} ({origin}). Download them from {SOURCE}")
            return Path(named)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)


def load_inception(path: Path | str | None = None, resize: str = "tf1") -> InceptionExtractor:
    """The Inception extractor of the literature; nothing is downloaded.

    Raises:
        UserError: the weights are missing or not the published ones. The message says where to get and to put them.
    """
    found = find_inception_weights(path)
    if found is None:
        raise UserError(
            f"no Inception weights. Download {SOURCE} and set evaluation.extractor.weights=FILE or ${ENVIRONMENT}, "
            f"or put it into {Path(torch.hub.get_dir()) / 'checkpoints'}; or use evaluation/extractor=random."
        )
    return InceptionExtractor(found, resize=resize)
