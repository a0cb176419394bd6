"""What each metric sees: MNIST test images against themselves distorted, thinned out or copied.

    python benchmarks/sensitivity.py --data data
    python benchmarks/sensitivity.py --num-samples 2000 --dataset fashion_mnist

One row is one "model" that draws from real images; one column is one metric. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from lightning_gen.metrics import SampleEvaluator, Sampler, packaged_classifier
from lightning_gen.metrics.make_weights import load_split
from lightning_gen.pictures import to_float

COLUMNS = {
    "FID": "fid_classifier",
    "KID": "kid_classifier",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "lost classes": "classes_lost",
    "C2ST": "c2st",
    "nearest train": "nearest_train_ratio",
    "authentic %": "auth_pct",
}
METRICS = ("fid", "kid", "prdc", "per_class", "c2st", "memorization")


def replay(images: Tensor, distort: Callable[[Tensor, torch.Generator], Tensor] | None = None) -> Sampler:
    """A sampler that draws from real images uint8 [N, C, H, W], without repeating one within a chunk."""

    def sample(n: int, generator: torch.Generator) -> Tensor:
        batch = to_float(images[torch.randperm(len(images), generator=generator)[:n]])
        return batch if distort is None else distort(batch, generator)

    return sample


def noise(std: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    return lambda x, generator: (x + std * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def blur(size: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    return lambda x, generator: gaussian_blur(x, [size, size])


def samplers(fresh: Tensor, labels: Tensor, train: Tensor) -> dict[str, Sampler]:
    """The models: ``fresh`` images are neither in the reference nor in the training set."""
    few = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(1))[:500]]
    return {
        "fresh real images": replay(fresh),
        "noise 0.1": replay(fresh, noise(0.1)),
        "noise 0.3": replay(fresh, noise(0.3)),
        "blur 3": replay(fresh, blur(3)),
        "blur 5": replay(fresh, blur(5)),
        "class 0 missing": replay(fresh[labels != 0]),
        "classes 0 and 1 only": replay(fresh[labels < 2]),
        "training images": replay(train),
        "500 training images": replay(few),
        "uniform noise": lambda n, generator: torch.rand(n, *fresh.shape[1:], generator=generator),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What each metric sees.")
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "fashion_mnist"])
    parser.add_argument("--data", default="data", help="folder that holds MNIST/ and FashionMNIST/")
    parser.add_argument("--num-samples", type=int, default=5000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    images, labels = load_split(arguments.dataset, arguments.data, train=True)
    test, _ = load_split(arguments.dataset, arguments.data, train=False)
    # A part of the official training split plays the new images, so that test stays the reference.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    fresh, train = order[:10000], order[10000:]
    extractor = packaged_classifier(arguments.dataset)
    assert extractor is not None
    evaluator = SampleEvaluator(
        extractor,
        test,
        images[train],
        num_samples=arguments.num_samples,
        metrics=METRICS,
        device=arguments.device,
        split="test",
    )
    print(f"| {arguments.dataset}, n = {arguments.num_samples} | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, sampler in samplers(images[fresh], labels[fresh], images[train]).items():
        metrics, protocol = evaluator(sampler)
        cells = [f"{metrics[f'eval/{key}']:.4g}" for key in COLUMNS.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    how = protocol["eval/fid_classifier"]
    print(f"\nextractor {how['extractor']} ({how['weights_hash']}), reference: {how['n_real']} test images")


if __name__ == "__main__":
    main()
