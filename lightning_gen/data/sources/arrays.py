"""Images or vectors in one file of arrays: .npz, .npy or .pt, with or without labels."""

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gen.data.bad_images import settle
from lightning_gen.data.hold_out import hold_out_rows
from lightning_gen.data.imageset import CHUNK, Decoding, ImageSet, Splits
from lightning_gen.data.placement import free_host_memory
from lightning_gen.data.sources.table import standardized
from lightning_gen.errors import UserError

NAMES = {  # accepted names of the arrays, in the order in which they are looked for
    "images": ("images", "x_train", "train_images", "x", "data", "arr_0"),
    "labels": ("labels", "y_train", "train_labels", "y", "targets", "arr_1"),
    "test_images": ("test_images", "x_test"),
    "test_labels": ("test_labels", "y_test"),
}
CLASSES = 100_000  # the most classes
LAYOUTS = ("NHW", "NCHW", "NHWC")


def arrays(
    decoding: Decoding,
    path: str | None,
    test_path: str | None = None,
    layout: str | None = None,
    value_range: tuple[float, float] | None = None,
    test_fraction: float = 0.1,
) -> Splits:
    """The images of one file, as uint8; or its vectors, float [N, D], as rows of a table, see `standardized`.

    The test split consists of the images of `test_path`, or of the file's own test images, or of `test_fraction` of
    the images, which are the same in every run. With `test_path`, a .npy file of uint8 images in NCHW or NHW is
    memory-mapped and may be larger than the memory.

    Args:
        decoding: for `on_bad_image`.
        path: the file.
        test_path: a separate file of test images.
        layout: NHW, NCHW or NHWC; None: guessed from the shape.
        value_range: of float images, and of 8-bit images that hold 0 and 1 only; None: (0, 1).
        test_fraction: share of the images to hold out.

    Raises:
        UserError: the file is missing or has no images, or their type, shape, values or number of labels are wrong.
    """
    if path is None:
        raise UserError("dataset=arrays needs a file: dataset.path=FILE.npz, .npy or .pt.")
    low, high = value_range or (0.0, 1.0)
    if not low < high:
        raise UserError(f"dataset.value_range=[{low},{high}]: the first number must be below the second.")

    def load(file: str, prefix: str = "") -> ImageSet | None:
        parts = read_file(Path(file).expanduser())
        if prefix + "images" not in parts:
            return None
        images, labels = parts[prefix + "images"], parts.get(prefix + "labels")
        if holds_zeros_and_ones(images):
            if value_range is None:
                raise UserError(
                    f"{file}: the images are 8-bit with values 0 and 1 only, which is black: set "
                    f"dataset.value_range=[0,1] if 1 is white, or [0,255] if they are that dark."
                )
            images = images if high > 1 else images * np.uint8(255)
        return _image_set(images, labels, file, layout, (low, high), decoding.on_bad_image)

    whole = _there(load(path), path)
    test = load(path, "test_") if test_path is None else _there(load(test_path), test_path)
    splits = hold_out(whole, test_fraction) if test is None else _same_classes(whole, test)
    if not (splits.train.images.is_floating_point() or splits.test.images.is_floating_point()):
        return splits
    if value_range is not None:
        raise UserError("dataset.value_range is for images; vectors [N, D] may have any values: omit it.")
    if splits.train.images.dtype != splits.test.images.dtype or splits.train.image_shape != splits.test.image_shape:
        raise UserError(f"{path}: the test data are not vectors of the same length as the training data.")
    return standardized(splits)


def _same_classes(train: ImageSet, test: ImageSet) -> Splits:
    classes = max(train.classes, test.classes, key=len)
    return Splits(replace(train, classes=classes), replace(test, classes=classes))


def holds_zeros_and_ones(images: Any) -> bool:
    """Whether 8-bit images have the values 0 and 1 only, judged by the first 1,000."""
    first = images[:1000] if isinstance(images, np.ndarray | Tensor) and images.ndim else np.zeros(0)
    eight_bit = first.dtype in (np.uint8, torch.uint8)
    return eight_bit and len(first) > 0 and int(first.max()) == 1


def _there(data: ImageSet | None, file: str) -> ImageSet:
    if data is None:
        raise UserError(f"{file} has no images: name the array `images`.")
    return data


def read_file(file: Path) -> dict[str, Any]:
    """The arrays of a file, by the keys of NAMES.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    if not file.is_file():
        raise UserError(f"dataset.path={file} does not exist (looked in {file.resolve()}).")
    try:
        if file.suffix == ".npy":
            return {"images": np.load(file, mmap_mode="c", allow_pickle=False)}
        if file.suffix == ".npz":
            _check_memory(file)
            content: Any = dict(np.load(file, allow_pickle=False))
        elif file.suffix in (".pt", ".pth"):
            content = torch.load(file, map_location="cpu", weights_only=True)
        else:
            raise UserError(f"dataset.path={file}: use a file that ends in .npz, .npy or .pt.")
    except UserError:
        raise
    except Exception as error:  # numpy, zip and pickle raise different errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"dataset.path={file} cannot be read: {reason}") from error
    if not isinstance(content, Mapping):
        listed = content if isinstance(content, (list, tuple)) else [content]
        content = dict(zip(("images", "labels"), listed, strict=False))
    found = {ours: next((content[name] for name in names if name in content), None) for ours, names in NAMES.items()}
    return {name: value for name, value in found.items() if value is not None}


def _check_memory(file: Path) -> None:
    """Raise a UserError for a compressed file whose arrays do not fit into the memory."""
    with zipfile.ZipFile(file) as archive:
        size = sum(info.file_size for info in archive.infolist())
    free = free_host_memory()
    if size > free:
        raise UserError(
            f"dataset.path={file} unpacks to {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free: save "
            "the images as .npy files, which can stay on disk (dataset.path and dataset.test_path)."
        )


def _image_set(
    images: Any, labels: Any, where: str, layout: str | None, value_range: tuple[float, float], policy: str
) -> ImageSet:
    tensor = _tensor(images, where)
    vectors = tensor.ndim == 2 and tensor.is_floating_point() and layout is None
    tensor = tensor.double()[:, None, None, :] if vectors else to_nchw(tensor, where, layout)
    if not tensor.numel():
        raise UserError(f"{where} holds no image.")
    if tensor.shape[1] not in (1, 3):
        raise UserError(
            f"{where}: {tensor.shape[1]} channels in shape {list(tensor.shape)}; use 1 or 3, or set dataset.layout."
        )
    numbers = None if labels is None else _labels(labels, len(tensor), where)
    bad: list[tuple[int, str]] = []
    if vectors:
        finite = tensor.isfinite().flatten(1).all(dim=1)
        bad = [(row, "NaN or infinite") for row in (~finite).nonzero().flatten().tolist()]
    elif tensor.is_floating_point():
        tensor, bad = quantize(tensor, *value_range)
    settle([(f"image {row}", why) for row, why in bad], len(tensor), where, policy)
    classes = tuple(str(i) for i in range(int(numbers.max()) + 1)) if numbers is not None else ()
    in_place = isinstance(images, np.memmap) and tensor.data_ptr() == images.ctypes.data
    data = ImageSet(tensor, numbers, classes, mapped=in_place)
    if not bad:
        return data
    good = torch.ones(len(tensor), dtype=torch.bool)
    good[[row for row, _ in bad]] = False
    return data.subset(good.nonzero().squeeze(1))


def _tensor(images: Any, where: str) -> Tensor:
    if isinstance(images, np.ndarray):
        if images.dtype.kind not in "ubf":
            raise _wrong_type(images.dtype, where)
        images = _known_to_torch(images)
    try:
        tensor = torch.as_tensor(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: the images are not an array of numbers.") from error
    if tensor.dtype == torch.bool:
        return tensor.to(torch.uint8) * 255
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise _wrong_type(tensor.dtype, where)
    return tensor


def _known_to_torch(array: np.ndarray) -> np.ndarray:
    """The same numbers in the byte order of this machine, and no wider than float64."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _wrong_type(dtype: Any, where: str) -> UserError:
    name = str(dtype).removeprefix("torch.")
    return UserError(f"{where}: the images are {name}; save them as uint8 (0 to 255) or float (0 to 1).")


def to_nchw(images: Tensor, where: str, layout: str | None) -> Tensor:
    """Convert NHW, NCHW or NHWC to [N, C, H, W]; without `layout`, the side of length 1 or 3 is the channels.

    Raises:
        UserError: the layout does not fit the shape, or cannot be guessed.
    """
    if layout is not None and (layout not in LAYOUTS or len(layout) != images.ndim):
        raise UserError(
            f"dataset.layout={layout} does not fit the shape {list(images.shape)} of {where}: use NHW, NCHW or NHWC."
        )
    if layout is None:
        if images.ndim == 3:
            layout = "NHW"
        elif images.ndim == 4:
            first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
            layout = "NCHW" if first and not last else "NHWC" if last and not first else None
    if layout is None:
        raise UserError(
            f"{where} has the shape {list(images.shape)}: images are [N,H,W], [N,C,H,W] or [N,H,W,C] with 1 or 3 "
            f"channels; set dataset.layout=NCHW or NHWC. Vectors [N,D] must be floats."
        )
    if layout == "NHW":
        return images.unsqueeze(1)
    return images if layout == "NCHW" else images.permute(0, 3, 1, 2).contiguous()


def quantize(images: Tensor, low: float, high: float) -> tuple[Tensor, list[tuple[int, str]]]:
    """Convert float images in [low, high] to uint8; also returns row and reason of the bad ones."""
    result, bad = torch.empty(images.shape, dtype=torch.uint8), []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK].float()
        flat = part.flatten(1)
        finite = flat.isfinite().all(dim=1)
        inside = (flat >= low).all(dim=1) & (flat <= high).all(dim=1)
        for row in (~(finite & inside)).nonzero().flatten().tolist():
            why = f"outside [{low:g}, {high:g}]; dataset.value_range=[LOW,HIGH] sets another range"
            bad.append((start + row, why if finite[row] else "NaN or infinite"))
        unit = (part.nan_to_num() - low) / (high - low)
        result[start : start + CHUNK] = unit.clamp(0, 1).mul(255).round()
    return result, bad


def _labels(labels: Any, count: int, where: str) -> Tensor:
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "iu" or (
        numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < CLASSES
    ):
        raise UserError(
            f"{where}: labels must be integers from 0 to {CLASSES - 1:,}, not {numbers.dtype}"
            + (f" from {numbers.min()} to {numbers.max()}." if numbers.dtype.kind in "iu" and numbers.size else ".")
        )
    numbers = numbers.astype(np.int64)
    if numbers.size == count == len(np.atleast_1d(numbers)):  # [N, 1], too
        numbers = numbers.reshape(-1)
    if numbers.shape != (count,):
        shape = list(numbers.shape)
        raise UserError(f"{where}: {count:,} images, but labels of shape {shape}; there must be one for each image.")
    return torch.from_numpy(numbers)


def hold_out(whole: ImageSet, fraction: float) -> Splits:
    """Hold out a random fraction, the same in every run. Not the last images, since files are often sorted."""
    train, test = hold_out_rows(len(whole), fraction)
    return Splits(whole.subset(torch.tensor(train)), whole.subset(torch.tensor(test)))
