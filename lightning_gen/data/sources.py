"""Data sets as one uint8 tensor in memory: the digits that scikit-learn carries, and torchvision's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_gen.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 [N, C, H, W] with labels int64 [N], or none, and the names of the classes.

    `factors`: the known factors of variation, int64 [N, K], of a set that is made by formula; `categorical`: which
    of them have no order.
    """

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    factors: Tensor | None = None
    categorical: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> "ImageSet":
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)

    def subset(self, indices: Tensor) -> "ImageSet":
        labels = None if self.labels is None else self.labels[indices]
        factors = None if self.factors is None else self.factors[indices]
        return replace(self, images=self.images[indices], labels=labels, factors=factors)


@dataclass(frozen=True)
class Splits:
    """The training images and the held-out ones, by the official split where there is one."""

    train: ImageSet
    test: ImageSet


def digits(root: str | None = None) -> Splits:
    """The 1,797 8x8 digits of scikit-learn (UCI optdigits): 1,437 to train, 360 held out, stratified.

    There is no official split of these 1,797; ours is drawn once, with random_state 0. `root` is not used.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    grey = torch.from_numpy(data.images).div(16).mul(255).round().to(torch.uint8).unsqueeze(1)  # 0..16 -> 0..255
    labels = torch.from_numpy(data.target).long()
    train, test = train_test_split(range(len(grey)), test_size=360, stratify=data.target, random_state=0)
    whole = ImageSet(grey, labels, tuple("0123456789"))
    return Splits(whole.subset(torch.tensor(train)), whole.subset(torch.tensor(test)))


def mnist(root: str) -> Splits:
    """MNIST (LeCun et al. 1998), 60,000 and 10,000 images of 28x28, the official split."""
    return _torchvision("MNIST", root)


def fashion_mnist(root: str) -> Splits:
    """Fashion-MNIST (Xiao et al. 2017), 60,000 and 10,000 images of 28x28, the official split."""
    return _torchvision("FashionMNIST", root)


def _torchvision(name: str, root: str) -> Splits:
    from torchvision import datasets

    def load(train: bool) -> ImageSet:
        dataset = _load_or_download(getattr(datasets, name), root, train=train)
        classes = tuple(c.split(" - ")[0] for c in dataset.classes)
        return ImageSet(dataset.data.unsqueeze(1), dataset.targets.long(), classes)

    return Splits(load(train=True), load(train=False))


def _load_or_download(dataset: Callable, root: str, **options: bool):  # type: ignore[no-untyped-def]
    name = getattr(dataset, "__name__", str(dataset))
    try:
        return dataset(root, download=False, **options)
    except RuntimeError:  # torchvision's way to say that the files are not there
        try:
            return dataset(root, download=True, **options)
        except Exception as error:
            raise UserError(
                f"{name} is not under {Path(root).resolve()} and could not be downloaded ({_first_line(error)}). "
                f"Put its original files into {Path(root).resolve() / name / 'raw'}, or set dataset.root to where "
                f"they are."
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
