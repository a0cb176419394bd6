"""The small convolutional classifier whose last hidden layer is the feature space for small images.

For digits, the features of a digit classifier are more meaningful than those of Inception (Binkowski et al. 2018,
"Demystifying MMD GANs", use a LeNet on MNIST). Numbers compare only within one extractor, so each classifier has a
name and a hash that go into every protocol.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.files import content_hash, locked, write_atomically
from lightning_gen.metrics.features import FeatureExtractor, hash_tensors
from lightning_gen.pictures import to_float
from lightning_gen.progress import progress

NATIVE_SIZE = (28, 28)
NUM_FEATURES = 64
WEIGHTS = Path(__file__).parent / "weights"
PART_OF = {"mnist_small": "mnist"}  # a data set whose images are some of another's has the classifier of that one


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: Adam, one-cycle learning rate, cross-entropy."""

    seed: int = 0
    epochs: int = 6
    batch_size: int = 128
    max_lr: float = 2e-3
    min_steps: int = 1500  # small data sets get more epochs: one epoch of 1,437 digits has 12 steps


class FeatureClassifier(FeatureExtractor):
    """conv5x5(24)-pool-conv3x3(48)-pool-fc64-relu-fc; the 64 hidden units after the ReLU are the features.

    Features are divided by their root mean square over the training set, so that their mean squared norm there is d.
    This gives Frechet distances a readable scale and keeps the cubic kernel of KID from exploding.

    Args:
        state: tensors as returned by ``fit_state``: ``body.*``, ``head.*`` and ``scale``.
        name: the name for the protocol, for example ``classifier-mnist-v1``.
    """

    num_features = NUM_FEATURES
    native_size = NATIVE_SIZE
    scale: Tensor

    def __init__(self, state: dict[str, Tensor], name: str) -> None:
        super().__init__()
        self.name = name
        self.native_channels = state["body.0.weight"].shape[1]
        self.num_classes = state["head.weight"].shape[0]
        with torch.device("meta"):  # draws no initial weights from the global generator
            self.body = classifier_body(self.native_channels)
            self.head = nn.Linear(NUM_FEATURES, self.num_classes)
        self.register_buffer("scale", torch.empty((), device="meta"))
        self.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
        self.weights_hash = hash_tensors(state)
        self.freeze()

    def extract(self, images: Tensor) -> Tensor:
        return run_body(self.body, images * 2 - 1) * self.scale

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Class logits [N, K] of float images [N, C, H, W] in [0, 1]."""
        return self.logits_from_features(self(images))

    @torch.no_grad()
    def logits_from_features(self, features: Tensor) -> Tensor:
        """Class logits [N, K] from features [N, d], without a second pass over the images."""
        return self.head(features / self.scale)


def classifier_body(channels: int) -> nn.Sequential:
    """The network up to the features: images [N, channels, 28, 28] in [-1, 1] to [N, 64]."""
    return nn.Sequential(
        nn.Conv2d(channels, 24, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48 * 7 * 7, NUM_FEATURES),
        nn.ReLU(),
    )


def run_body(body: nn.Sequential, images: Tensor) -> Tensor:
    """Features [N, 64] of images [N, C, 28, 28] in [-1, 1]: what the body computes, to the bit.

    Without a gradient, the maximum of four strided views is seven times as fast on a CPU as torch's pooling.
    """
    values = images
    for layer in body:
        if isinstance(layer, nn.MaxPool2d):
            above, below = (torch.maximum(values[..., row::2, 0::2], values[..., row::2, 1::2]) for row in (0, 1))
            values = torch.maximum(above, below)
        else:
            values = layer(values)
    return values


def train_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    name: str = "classifier-trained",
    seed: int = 0,
    epochs: int | None = None,
) -> FeatureClassifier:
    """Train the small classifier. The same arguments give the same weights; global generators are not touched.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N], classes 0 to K-1.
        name: name of the extractor.
        seed: seeds the initial weights and the order of the images.
        epochs: passes over the data; the default is at least 6 and at least 1,500 steps.

    Raises:
        ValueError: images and labels do not match.
    """
    recipe = Recipe(seed=seed) if epochs is None else Recipe(seed=seed, epochs=epochs, min_steps=0)
    return FeatureClassifier(fit_state(images, labels, recipe), name)


def cached_classifier(
    images: Tensor, labels: Tensor, *, name: str, cache_dir: Path | str, seed: int = 0
) -> FeatureClassifier:
    """The classifier of a labelled data set, trained once and then read from ``cache_dir``.

    The name of the file contains a hash of images, labels and recipe. If several processes ask at once, the first
    trains and the others wait for its file, so that all have the same weights.
    """
    recipe = Recipe(seed=seed)
    key = content_hash(images, labels, json.dumps(asdict(recipe), sort_keys=True), "classifier-v1")[:16]
    safe = re.sub(r"[^A-Za-z0-9_.]+", "_", name)
    path = Path(cache_dir) / f"classifier-{safe}-{key}.pt"
    state = _saved(path)
    if state is None:
        with locked(path):
            state = _saved(path)
            if state is None:
                state = fit_state(
                    images, labels, recipe, announce=f"training the {safe} classifier for the evaluation"
                )
                write_atomically(path, lambda file: torch.save(state, file))
    return FeatureClassifier(state, f"classifier-{safe}-v1")


def _saved(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None if there is no file, or after one line if it is damaged."""
    try:
        return _read(path.read_bytes())
    except FileNotFoundError:
        return None
    except Exception:  # damaged files raise many kinds of errors
        print(f"note: {path} is damaged: the classifier is trained again.", file=sys.stderr)
        return None


def packaged_classifier(dataset: str) -> FeatureClassifier | None:
    """The classifier that comes with the package for a data set, or ``None``.

    There is one for ``digits``, ``mnist`` (also for ``mnist_small``) and ``fashion_mnist``.

    Raises:
        ValueError: the file of weights does not match its record.
    """
    dataset = PART_OF.get(dataset, dataset)
    record_file = WEIGHTS / f"{dataset}.json"
    if not record_file.exists():
        return None
    record = json.loads(record_file.read_text(encoding="utf-8"))
    data = (WEIGHTS / f"{dataset}.pt").read_bytes()
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise ValueError(f"the packaged {dataset}.pt differs from its record: reinstall lightning_gen")
    return FeatureClassifier(_read(data), record["name"])


@torch.no_grad()
def accuracy(classifier: FeatureClassifier, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    """The fraction of images uint8 [N, C, H, W] that are classified as their label int64 [N]."""
    right = torch.zeros((), dtype=torch.long, device=images.device)
    for part, target in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        right += (classifier.logits(to_float(part)).argmax(1) == target.to(part.device)).sum()
    return right.item() / len(labels)


def _read(data: bytes) -> dict[str, Tensor]:
    return torch.load(BytesIO(data), map_location="cpu", weights_only=True)


def fit_state(images: Tensor, labels: Tensor, recipe: Recipe, announce: str | None = None) -> dict[str, Tensor]:
    """Train a classifier; returns the tensors of a ``FeatureClassifier``, with weights in float16.

    ``announce``: shows progress under this description.
    """
    if len(images) != len(labels) or images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"expected uint8 images [N, C, H, W] with N labels, got {images.dtype} {list(images.shape)} "
            f"and {len(labels)} labels"
        )
    channels = 1 if images.shape[1] == 1 else 3
    labels = labels.to(images.device)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed the generators of the GPUs.
        torch.random.default_generator.manual_seed(recipe.seed)
        net = _Trainee(channels, int(labels.max()) + 1)
    net = net.to(images.device)
    with torch.enable_grad(), torch.inference_mode(False), torch.autocast(images.device.type, enabled=False):
        _fit(net, images, labels, recipe, announce)
    return net.frozen_state(images)


class _Trainee(FeatureExtractor):
    """The classifier during training; it prepares images like the finished one."""

    native_size = NATIVE_SIZE

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.native_channels = channels
        self.body = classifier_body(channels)
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def extract(self, images: Tensor) -> Tensor:
        return self.body(images * 2 - 1)

    def hidden(self, images: Tensor) -> Tensor:
        return self.extract(self.prepare(to_float(images)))

    @torch.no_grad()
    def frozen_state(self, images: Tensor) -> dict[str, Tensor]:
        """Weights in float16 (half the file size, no measurable loss), and the scale of their features."""
        state = {key: value.half() for key, value in self.state_dict().items()}
        self.load_state_dict({key: value.float() for key, value in state.items()})
        square = sum(self.hidden(part).double().square().sum() for part in images.split(1000))
        rms = math.sqrt(float(square) / (len(images) * NUM_FEATURES))
        state = {key: value.cpu() for key, value in state.items()}
        return {**state, "scale": torch.tensor(1 / max(rms, 1e-12))}


def _fit(net: _Trainee, images: Tensor, labels: Tensor, recipe: Recipe, announce: str | None) -> None:
    size = min(recipe.batch_size, len(images))
    per_epoch = len(images) // size
    epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch))
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.max_lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.max_lr, total_steps=epochs * per_epoch)
    generator = torch.Generator().manual_seed(recipe.seed)  # on the CPU: the same order on every device
    shown = progress(epochs * per_epoch, announce, "steps") if announce else nullcontext(lambda count: None)
    with shown as advance:
        for _ in range(epochs):
            order = torch.randperm(len(images), generator=generator).to(images.device)
            for index in order[: per_epoch * size].split(size):
                loss = F.cross_entropy(net.head(net.hidden(images[index])), labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                advance(1)
