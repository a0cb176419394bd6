"""DINOv2 features, as Stein et al. 2023 ("Exposing flaws of generative model evaluation metrics") propose."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.metrics.features import FeatureExtractor

REPOSITORY = "facebookresearch_dinov2_main"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in the training of the network


class DinoV2Extractor(FeatureExtractor):
    """The class token of a DINOv2 vision transformer, for images resized to 224x224 (bicubic with antialiasing).

    Code and weights are read from the torch hub cache; nothing is downloaded.

    Args:
        model: ``dinov2_vits14``, ``dinov2_vitb14``, ``dinov2_vitl14`` or ``dinov2_vitg14``.
        weights: the file of weights; ``None`` looks for ``<model>_pretrain.pth`` in the torch hub cache.

    Raises:
        UserError: the code or the weights are missing.
    """

    native_size = (224, 224)
    native_channels = 3
    interpolation = "bicubic"

    def __init__(self, model: str = "dinov2_vitl14", weights: Path | str | None = None) -> None:
        super().__init__()
        hub = Path(torch.hub.get_dir())
        path = Path(weights) if weights else hub / "checkpoints" / f"{model}_pretrain.pth"
        if not (hub / REPOSITORY / "hubconf.py").is_file() or not path.is_file():
            raise UserError(
                f"evaluation/extractor=dinov2 needs {hub / REPOSITORY} and {path}: with a network, run once "
                f"`python -c \"import torch; torch.hub.load('facebookresearch/dinov2', '{model}')\"`."
            )
        with torch.random.fork_rng(devices=[]):  # its constructor draws initial weights
            self.network = torch.hub.load(str(hub / REPOSITORY), model, source="local", pretrained=False)
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.num_features = int(self.network.embed_dim)
        self.name = f"dinov2-{model.removeprefix('dinov2_')}"
        self.weights_hash = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        self.freeze()

    def extract(self, images: Tensor) -> Tensor:
        mean, std = images.new_tensor(MEAN).view(1, 3, 1, 1), images.new_tensor(STD).view(1, 3, 1, 1)
        return self.network((images - mean) / std)
