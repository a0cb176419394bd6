"""Make the packaged file of dataset=mnist_small from the original files of MNIST.

python -m lightning_gen.data.make_mnist_small --data data
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from lightning_gen.data.sources.mnist_small import FOLDER, TRAIN, pack
from lightning_gen.files import write_atomically

CHOSEN = {True: slice(TRAIN), False: slice(None, None, 5)}  # of the training images, and of the test images

# SHA-256 of the files in MNIST/raw/ that torchvision reads, unpacked.
SOURCES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def check_sources(data: Path) -> None:
    """Check that the files of MNIST are the original ones.

    Raises:
        ValueError: a file differs.
    """
    for name, expected in SOURCES.items():
        found = hashlib.sha256((data / "MNIST" / "raw" / name).read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(f"{name} has the SHA-256 {found}, not {expected}: it is not the original file")


def chosen_images(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """The chosen images of both splits, uint8 [N, 1, 28, 28], and their labels, uint8 [N]: training, then test."""
    from torchvision import datasets

    splits = [(datasets.MNIST(data, train=train), chosen) for train, chosen in CHOSEN.items()]
    images = np.concatenate([split.data[chosen, None].numpy() for split, chosen in splits])
    labels = np.concatenate([split.targets[chosen].numpy().astype(np.uint8) for split, chosen in splits])
    return images, labels


def content_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the images and labels themselves, which does not depend on how they are compressed."""
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def make(data: Path, folder: Path = FOLDER) -> dict[str, object]:
    """Write `mnist_small.npz` and its record `mnist_small.json`; returns the record.

    Raises:
        ValueError: a file of MNIST is not the original one.
    """
    check_sources(data)
    images, labels = chosen_images(data)
    content = pack(images, labels)
    record: dict[str, object] = {
        "license": "CC BY-SA 3.0",
        "images": f"the first {TRAIN} training images and every fifth test image of MNIST, in their official order",
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_sha256": content_sha256(images, labels),
        "sources": SOURCES,
    }
    write_atomically(folder / "mnist_small.npz", content)
    write_atomically(folder / "mnist_small.json", json.dumps(record, indent=2) + "\n")
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that contains MNIST/raw/")
    print(json.dumps(make(parser.parse_args().data), indent=2))


if __name__ == "__main__":
    main()
