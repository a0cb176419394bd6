"""Train the packaged classifiers on the training splits, and record their accuracy on the test splits.

python -m lightning_gen.metrics.make_weights digits mnist fashion_mnist --data data
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from lightning_gen.files import write_atomically
from lightning_gen.metrics.classifier import WEIGHTS, FeatureClassifier, Recipe, accuracy, fit_state


def load_split(dataset: str, data: str, train: bool) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 1, H, W] and labels int64 [N] of one split."""
    if dataset == "digits":
        return _digits(train)
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[dataset]
    split = kind(data, train=train)
    return split.data[:, None], split.targets


def _digits(train: bool) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(range(1797), test_size=360, stratify=digits.target, random_state=0)
    index = torch.tensor(parts[0 if train else 1])
    images = torch.tensor(digits.images / 16 * 255).round().to(torch.uint8)[:, None]
    return images[index], torch.tensor(digits.target)[index]


def make(dataset: str, data: str, recipe: Recipe, folder: Path = WEIGHTS) -> dict[str, object]:
    """Train on the training split; write ``<dataset>.pt`` and its record ``<dataset>.json``."""
    images, labels = load_split(dataset, data, train=True)
    state = fit_state(images, labels, recipe)
    buffer = BytesIO()
    torch.save(state, buffer)
    classifier = FeatureClassifier(state, f"classifier-{dataset}-v1")
    record = {
        "name": classifier.name,
        "test_accuracy": round(accuracy(classifier, *load_split(dataset, data, train=False)), 4),
        "recipe": {**asdict(recipe), "optimizer": "adam, one cycle", "train_images": len(images)},
        "weights_hash": classifier.weights_hash,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "torch": torch.__version__,
    }
    write_atomically(folder / f"{dataset}.pt", buffer.getvalue())
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(folder / f"{dataset}.json", text)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("datasets", nargs="+", choices=["digits", "mnist", "fashion_mnist"])
    parser.add_argument("--data", default="data", help="folder that contains MNIST/ and FashionMNIST/")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for dataset in arguments.datasets:
        print(json.dumps(make(dataset, arguments.data, Recipe(seed=arguments.seed))))


if __name__ == "__main__":
    main()
