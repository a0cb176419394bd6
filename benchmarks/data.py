"""Images/s of the training stream, side by side in one run with the usual ways to load the same images.

python benchmarks/data.py --data data            MNIST, and the folder data/cifar10_jpeg
python benchmarks/data.py --data data --seconds 5 --batch-size 128

Each loader is run on its own for some seconds, after a warm-up, and the best of three rounds counts: other work on
the machine only ever makes a loader slower. One thread for torch, as a training process with workers would have.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_gen.data.imageset import Decoding, ImageSet
from lightning_gen.data.loader import TrainLoader
from lightning_gen.data.sources import vision
from lightning_gen.data.sources.folder import image_folder
from lightning_gen.data.transforms import BatchTransform
from lightning_gen.pictures import to_float

ROUNDS = 3


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def rate(make: Callable[[], Iterator[Any]], batch_size: int, seconds: float) -> float:
    """Images/s, the best of three rounds, without the start of the first epoch."""
    batches, best = make(), 0.0
    for _ in itertools.islice(batches, 3):
        pass
    for _ in range(ROUNDS):
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / ROUNDS:
            next(batches)
            count += batch_size
        best = max(best, count / (time.perf_counter() - start))
    return best


def bare(data: ImageSet, batch_size: int) -> Iterator[torch.Tensor]:
    """No loader at all: index_select of ready-made indices, and the conversion."""
    indices = torch.randperm(len(data)).split(batch_size)[:-1]
    for chosen in endless(indices):
        yield to_float(data.images.index_select(0, chosen))


def loaders(
    data: ImageSet, items: Dataset, batch_size: int, extra: dict[str, BatchTransform]
) -> dict[str, Callable[[], Iterator[Any]]]:
    """By name, each a function that starts the loader."""

    def per_item(workers: int) -> Iterator[Any]:
        options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "drop_last": True}
        return endless(DataLoader(items, batch_size, shuffle=True, **options))

    def tensors() -> Iterator[Any]:
        dataset = TensorDataset(to_float(data.images), data.labels)
        return endless(DataLoader(dataset, batch_size, shuffle=True, drop_last=True))

    def ours(**options: Any) -> Iterator[Any]:
        return iter(TrainLoader(data, batch_size, seed=0, **options))

    return {
        "torchvision per item, DataLoader, 0 workers": lambda: per_item(0),
        "torchvision per item, DataLoader, 2 workers": lambda: per_item(2),
        "TensorDataset of floats, DataLoader": tensors,
        "lightning_gen": ours,
        **{f"lightning_gen, {name}": lambda t=t: ours(transform=t) for name, t in extra.items()},
        "bare index_select and conversion": lambda: bare(data, batch_size),
    }


def compare(
    title: str, data: ImageSet, items: Dataset, arguments: argparse.Namespace, **extra: BatchTransform
) -> None:
    """Print the table of one data set."""
    found = {}
    for name, make in loaders(data, items, arguments.batch_size, extra).items():
        found[name] = rate(make, arguments.batch_size, arguments.seconds)
    first, ours = found["torchvision per item, DataLoader, 0 workers"], found["lightning_gen"]
    second, least = found["TensorDataset of floats, DataLoader"], found["bare index_select and conversion"]
    print(
        f"\n{title}, batches of {arguments.batch_size}\n\n| loader | images/s | against the first |\n|---|---:|---:|"
    )
    for name, value in found.items():
        print(f"| {name} | {value:,.0f} | {value / first:,.1f} |")
    print(
        f"\nlightning_gen: {ours / first:,.0f} times the first, {ours / second:.1f} times TensorDataset, "
        f"{ours / least:.2f} of bare indexing"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/ and cifar10_jpeg/")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=6.0, help="for each loader")
    parser.add_argument("--cache", default="~/.cache/lightning_gen", help="of decoded images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    from torchvision import datasets, transforms

    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPU cores, torch {torch.__version__}, load before the start {load:.1f}")
    decoding = Decoding(cache_dir=Path(arguments.cache))
    items: Dataset = datasets.MNIST(arguments.data, transform=transforms.ToTensor())
    mnist = vision.mnist(decoding, arguments.data).train
    compare("MNIST", mnist, items, arguments, dynamic_binarization=BatchTransform(binarize=True))

    folder = Path(arguments.data) / "cifar10_jpeg"
    if not folder.is_dir():
        print(f"\nno folder of JPEGs: {folder} is not there")
        return
    start = time.perf_counter()
    splits = image_folder(decoding, str(folder))
    print(f"\nfolder of {len(splits.train) + len(splits.test):,} JPEGs ready in {time.perf_counter() - start:.1f} s")
    items = datasets.ImageFolder(str(folder / "train"), transform=transforms.ToTensor())
    train = splits.train.with_images(splits.train.images.clone())
    compare("32x32 JPEGs", train, items, arguments, flip=BatchTransform(flip=True), window=BatchTransform(window=28))


if __name__ == "__main__":
    main()
