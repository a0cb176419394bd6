"""The line below the title of a picture: which model, on which data, at which step, with which number."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from lightning_gen.models.base import GenerativeModel

MODELS = {"VAEGAN": "VAE/GAN", "VQVAE": "VQ-VAE", "VQGAN": "VQ-GAN", "LadderVAE": "ladder VAE"}
MODELS |= {"HierarchicalVAE": "hierarchical VAE", "Autoencoder": "autoencoder"}
DATA = {"mnist": "MNIST", "mnist_small": "MNIST (10,000 images)", "fashion_mnist": "Fashion-MNIST"}
DATA |= {"kmnist": "Kuzushiji-MNIST", "emnist": "EMNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
DATA |= {"svhn": "SVHN", "celeba": "CelebA", "stl10": "STL-10", "digits": "scikit-learn's digits"}
DATA |= {"gaussians": "points in the plane", "table": "a table"}


def heading(
    model: GenerativeModel,
    data: str | None,
    step: int | None,
    metrics: Mapping[str, float] | None = None,
    of: str = "",
) -> str:
    """Such as `GAN on MNIST, step 3,000, FID (classifier features) 1.91`.

    Args:
        model: the model that the picture is of.
        data: the name of its data set.
        step: the step of its weights.
        metrics: numbers of the same weights, by name.
        of: the name of the picture, which decides the number; "": none.
    """
    parts = [f"{model_name(model)} on {data_name(data)}"]
    if step is not None:
        parts.append(f"step {step:,}" if step else "before the first step")
    return ", ".join([*parts, *_numbers(metrics or {}, of)])


def model_name(model: GenerativeModel) -> str:
    """The name of the model's family, as the literature writes it."""
    name = type(model).__name__
    name = f"{'conditional ' if model.num_classes else ''}{MODELS.get(name, name)}"
    return name[0].upper() + name[1:]


def data_name(name: str | None) -> str:
    """The name of a data set as its authors write it; of a folder, its last part."""
    return DATA.get(name or "", Path(name or "images").name)


def distance(metrics: Mapping[str, float]) -> str:
    """Such as `FID (classifier features) 1.91`; empty if no distance was measured."""
    if "eval/energy_distance" in metrics:
        return f"energy distance {metrics['eval/energy_distance']:.3g}"
    name = next((name for name in metrics if re.fullmatch(r"eval/fid(_[a-z0-9]+)?", name)), None)
    if name is None or not math.isfinite(metrics[name]):
        return ""
    features = name.removeprefix("eval/fid").removeprefix("_")
    return f"FID{f' ({features} features)' if features else ''} {metrics[name]:.3g}"


def _numbers(metrics: Mapping[str, float], of: str) -> list[str]:
    """The numbers that say how good what the picture shows is."""
    if of == "reconstructions" and "eval/reconstruction_mse" in metrics:
        return [f"squared error per pixel {metrics['eval/reconstruction_mse']:.3g}"]
    if of in ("samples", "field") and "eval/modes_found" in metrics:
        found, lost, good = (metrics[f"eval/{name}"] for name in ("modes_found", "modes_lost", "good_samples"))
        return [f"{found:.0f} of {found + lost:.0f} modes found, {good:.1%} good samples"]
    if of in ("marginals", "correlations") and f"eval/{of}" in metrics:
        return [f"mean distance {metrics[f'eval/{of}']:.3g}"]
    number = distance(metrics) if of in ("samples", "categories", "neighbours") else ""
    return [number] if number else []
