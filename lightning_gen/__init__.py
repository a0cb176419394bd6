"""Train, evaluate and compare autoencoders, VAEs and GANs: PyTorch Lightning, Hydra, wandb.

    import lightning_gen as lg

    run = lg.train("model=vae", "dataset=mnist_small")
    run.sample(64)
    lg.load("runs/latest").metrics

Importing this package imports neither torch nor Lightning nor Hydra: each function does when it is called.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from lightning_gen.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch

    from lightning_gen.metrics.image_sets import Features
    from lightning_gen.runs.trained import TrainedRun

__all__ = ["UserError", "__version__", "frechet_distance", "load", "train"]

try:
    __version__ = version("lightning-gen")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"


def load(path: str | Path, checkpoint: str = "best", device: torch.device | str | None = None) -> TrainedRun:
    """Open a run directory: its model in evaluation mode, its record, and its data on demand.

    It also opens a folder that `lightning-gen export --format hub` or `safetensors` wrote.

    Args:
        path: a run directory, such as `runs/latest`, or such a folder.
        checkpoint: `best` (by the run's `checkpoint.monitor`), `last`, or the path of a checkpoint file. The model
            gets the averaged weights if the checkpoint has them.
        device: the device of the model; None: a GPU if there is one, else the CPU.

    Returns:
        The run, with `sample`, `encode`, `decode`, `reconstruct`, `interpolate`, `metrics`, `summary`, `config`,
        `data` and `model`.

    Raises:
        UserError: there is no run at `path`, or its checkpoint is missing or cannot be read.
    """
    from pathlib import Path

    from lightning_gen.export.folder import is_export, load_export
    from lightning_gen.runs.trained import load

    if is_export(Path(path)):
        return load_export(Path(path), device)
    return load(path, checkpoint, device)


def train(*overrides: str) -> TrainedRun:
    """Train in this process as `python train.py` does with these overrides, and return the run.

    The checks, the run directory (`runs/<dataset>/<model>/<time>-<id>` below the working directory, or
    `hydra.run.dir=DIR`) and the messages on standard error are those of the command. `resume=RUN` continues a run.
    The global random generators of torch, numpy and Python, the signal handlers, and a Hydra that the caller has
    initialized are restored before it returns.

    Ctrl-C, or interrupting a notebook's cell, ends training after the current step, saves a checkpoint and raises
    KeyboardInterrupt. `train("resume=runs/latest")` continues from there.

    Args:
        overrides: such as `"model=vae"`, `"dataset=mnist"`, `"trainer.max_steps=1000"`, each a separate string. The
            flags of the command line (`-m` for a grid or a search, `--cfg`) do not work here: for a grid, call
            `train` in a loop.

    Returns:
        The run as `load` returns it, with its best checkpoint, or with the last if it has no best one.

    Raises:
        UserError: a mistake in the overrides, before training starts; or a loss that is not finite.
        JobFailed: with `trainer.devices=2` or more, one of the processes failed, after it printed the reason.
        KeyboardInterrupt: training was asked to stop, and its checkpoint is saved.
    """
    from lightning_gen.commands.train_here import train_here

    return train_here(overrides)


def frechet_distance(
    images_a: torch.Tensor | np.ndarray,
    images_b: torch.Tensor | np.ndarray,
    extractor: Features = "classifier",
    dataset: str | None = None,
    device: torch.device | str | None = None,
) -> float:
    """The (squared) Frechet distance between two sets of images in the features of a network (Heusel et al. 2017).

    With `extractor="inception"` it is the FID of the literature. Distances with different features cannot be
    compared. The evaluation of a run gives the same number for the same images.

    The estimate is biased: it falls as the number of images grows, on either side about in proportion to 1/n
    (Chong & Forsyth 2020). So compare distances only at equal numbers of images, and use more images than features
    (64 of the classifier and of `random`, 2048 of Inception). The distance between two sets of real images of that
    size shows how low it can get.

    Args:
        images_a: [N, C, H, W], uint8 or floating point in [0, 1], N at least 2; a tensor or a numpy array. They are
            rounded to 8 bits.
        images_b: the other set, of the same kind; its size may differ.
        extractor: `classifier`, the last hidden layer of a small classifier that comes with the package; `inception`
            and `dinov2`, whose weights must be on this machine; `random`, the classifier's network untrained;
            `pixels`.
        dataset: the data set of the classifier, `digits`, `mnist`, `mnist_small` or `fashion_mnist`. Only
            `extractor="classifier"` needs it.
        device: where the features are computed; None: a GPU if there is one, else the CPU.

    Raises:
        ValueError: images of another shape, type or range, or fewer than two.
        UserError: an extractor that is unknown or not available.
    """
    from lightning_gen.metrics.image_sets import image_distance
    from lightning_gen.runs.loading import default_device

    return image_distance(images_a, images_b, extractor, dataset, device or default_device())
