"""Images that a user names on the command line, in the shape that a model knows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_gen.data.decode import BadImage, Entry, decode
from lightning_gen.data.image_files import is_image
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.pictures import to_float

TEST_IMAGES = 8  # that are used if the user names none


def given_images(paths: Sequence[Path], data: ImageDataModule) -> tuple[Tensor, Tensor | None, list[str]]:
    """Images float [N, C, H, W] in [0, 1], their labels [N] if they are known, and their names.

    Without paths they are the first `TEST_IMAGES` test images. A folder stands for the images in it. For a model of
    square images, an image of another size is cropped to its central square and resized.

    Raises:
        UserError: a path is not an image or a folder of images, or has another size than the images of the model,
            which are not square.
    """
    if not paths:
        test = data.test
        labels = None if test.labels is None else test.labels[:TEST_IMAGES]
        images = to_float(test.images[:TEST_IMAGES])
        return images, labels, [f"test {index}" for index in range(len(images))]
    files = [file for path in paths for file in _files(path)]
    return torch.stack([_read(file, data.image_shape) for file in files]), None, [file.stem for file in files]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if is_image(file.name))
    if not found:
        folders = sorted(file.name for file in path.iterdir() if file.is_dir() and not file.name.startswith("."))
        inside = next(iter(folders), None)
        hint = "" if inside is None else f" Folders inside are not searched: name {path / inside}, for example."
        raise UserError(f"{path} has no images in it.{hint}")
    return found


def _read(file: Path, shape: ImageShape) -> Tensor:
    channels, height, width = shape
    try:
        pixels = torch.from_numpy(decode(Entry(file.name, str(file)), channels, None, None).copy())
        if tuple(pixels.shape) != tuple(shape) and height == width:
            pixels = torch.from_numpy(decode(Entry(file.name, str(file)), channels, None, height).copy())
    except BadImage as error:
        raise UserError(f"{file} cannot be used: {error}.") from error
    if tuple(pixels.shape) != tuple(shape):
        raise UserError(f"{file} is {pixels.shape[1]}x{pixels.shape[2]}; this model has images of {height}x{width}.")
    return to_float(pixels)
