"""torchvision's data sets as uint8 tensors, with their official splits; downloaded if they are missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.decoded import cache_lock, decoded_splits
from lightning_gen.data.imageset import Decoding, ImageSet, Splits
from lightning_gen.errors import UserError, did_you_mean

DIGITS = tuple("0123456789")


def mnist(decoding: Decoding, root: str) -> Splits:
    """MNIST (LeCun et al. 1998): 60,000 training and 10,000 test images of 28x28."""
    return _both(lambda train: _idx("MNIST", root, decoding, train=train))


def fashion_mnist(decoding: Decoding, root: str) -> Splits:
    """Fashion-MNIST (Xiao et al. 2017): 60,000 training and 10,000 test images of 28x28."""
    return _both(lambda train: _idx("FashionMNIST", root, decoding, train=train))


def kmnist(decoding: Decoding, root: str) -> Splits:
    """Kuzushiji-MNIST (Clanuwat et al. 2018): 60,000 training and 10,000 test images of 28x28."""
    return _both(lambda train: _idx("KMNIST", root, decoding, train=train))


def emnist(decoding: Decoding, root: str, part: str = "balanced") -> Splits:
    """EMNIST (Cohen et al. 2017): images of 28x28, turned upright (the files contain them transposed).

    `part`: balanced, letters, digits, mnist, byclass or bymerge.
    """
    return _both(lambda train: _idx("EMNIST", root, decoding, split=part, train=train, upright=True))


def cifar10(decoding: Decoding, root: str) -> Splits:
    """CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 3x32x32."""
    return _both(lambda train: _cifar("CIFAR10", "cifar-10-batches-py", root, decoding, train))


def cifar100(decoding: Decoding, root: str) -> Splits:
    """CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images of 3x32x32."""
    return _both(lambda train: _cifar("CIFAR100", "cifar-100-python", root, decoding, train))


def svhn(decoding: Decoding, root: str) -> Splits:
    """SVHN (Netzer et al. 2011), cropped digits: 73,257 training, 26,032 test images of 3x32x32, without `extra`."""

    def load(train: bool) -> ImageSet:
        data = load_or_download("SVHN", root, decoding, folder="svhn", split="train" if train else "test")
        return ImageSet(torch.from_numpy(data.data).contiguous(), torch.from_numpy(data.labels), DIGITS)

    return _both(load)


def stl10(decoding: Decoding, root: str, part: str = "unlabeled") -> Splits:
    """STL-10 (Coates et al. 2011): images of 3x96x96, with 8,000 test images.

    `part`: the training images: unlabeled (100,000, without labels), train (5,000) or train+unlabeled.
    """

    def load(train: bool) -> ImageSet:
        data = load_or_download("STL10", root, decoding, folder="stl10_binary", split=part if train else "test")
        labels = torch.from_numpy(data.labels).long() if part == "train" else None
        classes = tuple(data.classes) if labels is not None else ()
        return ImageSet(torch.from_numpy(data.data).contiguous(), labels, classes)

    return _both(load)


def celeba(decoding: Decoding, root: str, attribute: str | None = None) -> Splits:
    """CelebA, aligned and cropped (Liu et al. 2015): 162,770 training and 19,962 test images of 3x218x178.

    `attribute`: one of the 40 attributes, such as Smiling, as a label with two classes.
    """
    parts = [load_or_download("CelebA", root, decoding, folder="celeba", split=split) for split in ("train", "test")]
    folder = Path(root) / "celeba" / "img_align_celeba"
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    if attribute is not None:
        names = [name for name in parts[0].attr_names if name]
        if attribute not in names:
            raise UserError(f"dataset.attribute={attribute} is not in CelebA.{did_you_mean(attribute, names)}")
        column = names.index(attribute)
        labels, classes = torch.cat([part.attr[:, column] for part in parts]).long(), (f"not {attribute}", attribute)
    files = [folder / name for part in parts for name in part.filename]
    return decoded_splits(files, len(parts[0].filename), decoding, "CelebA", labels, classes)


def _both(load: Callable[[bool], ImageSet]) -> Splits:
    return Splits(load(True), load(False))


def _idx(name: str, root: str, decoding: Decoding, upright: bool = False, **options: Any) -> ImageSet:
    data = load_or_download(name, root, decoding, folder=f"{name}/raw", **options)
    images: Tensor = data.data.mT.contiguous() if upright else data.data
    labels, classes = data.targets.long(), tuple(c.split(" - ")[0] for c in data.classes)
    if classes[0] == "N/A":  # EMNIST letters count from 1
        labels, classes = labels - 1, classes[1:]
    return ImageSet(images.unsqueeze(1), labels, classes)


def _cifar(name: str, folder: str, root: str, decoding: Decoding, train: bool) -> ImageSet:
    data = load_or_download(name, root, decoding, folder=folder, train=train)
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()  # NHWC -> NCHW
    return ImageSet(images, torch.tensor(data.targets), tuple(data.classes))


def load_or_download(name: str, root: str, decoding: Decoding, folder: str, **options: Any) -> Any:
    """The torchvision data set called `name`, whose files are in `folder` below `root`.

    Raises:
        UserError: the files are missing and cannot be downloaded, or cannot be read.
    """
    from torchvision import datasets

    kind = getattr(datasets, name)
    where = (Path(root) / folder).resolve()
    base = where if name == "SVHN" else root  # the only one that does not make a folder for itself
    with cache_lock(decoding.cache_dir, f"download-{name}"):  # of several processes, one downloads
        try:
            return kind(base, download=False, **options)
        except Exception as error:
            if "not found" not in str(error):  # in torchvision this means that files are missing
                raise UserError(f"The files of {name} in {where} cannot be read: {_first_line(error)}.") from error
        try:
            return kind(base, download=True, **options)
        except Exception as error:
            raise UserError(
                f"The files of {name} are not (all) in {where} and could not be downloaded ({_first_line(error)}). "
                f"Put the original files there, or set dataset.root to the folder that contains {folder}."
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
