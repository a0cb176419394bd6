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
DATA |= {"gaussians": "points in the plane"}


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


def _numbers(metrics: Mapping[str, float], of: str) -> list[str]:
    """The numbers that say how good what the picture shows is."""
    wanted: dict[str, str] = {}  # words by metric
    if of == "reconstructions":
        wanted = {"eval/reconstruction_mse": "squared error per pixel {:.3g}"}
    elif of in ("samples", "field") and "eval/modes_found" in metrics:
        total = metrics["eval/modes_found"] + metrics.get("eval/modes_lost", 0)
        wanted = {"eval/modes_found": f"{{:.0f}} of {total:.0f} modes", "eval/good_samples": "{:.1%} good samples"}
    elif of in ("samples", "categories", "neighbours"):
        names = [name for name in metrics if re.fullmatch(r"eval/fid(_[a-z0-9]+)?", name)]
        wanted = {name: _distance_words(name) for name in names[:1]}
        wanted["eval/energy_distance"] = "energy distance {:.3g}"
    found = {name: metrics[name] for name in wanted if math.isfinite(metrics.get(name, math.nan))}
    return [wanted[name].format(value) for name, value in found.items()]


def _distance_words(name: str) -> str:
    features = name.removeprefix("eval/fid").removeprefix("_")
    return f"FID ({features} features) {{:.3g}}" if features else "FID {:.3g}"
