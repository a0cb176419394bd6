"""Lesson 8: codes are features, for classifiers with few labels and for clusters. docs/lessons/08_features.md

Two autoencoders learn from images without labels. The codes of the first feed classifiers that get 10, 100 or 1,000
labels a class; the codes of the second are two numbers, in which the ten digits form clusters.
"""

import copy
from functools import partial
from typing import NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.data.imageset import Decoding, Splits
from lightning_gen.data.sources.digits import digits
from lightning_gen.data.sources.mnist_small import mnist_small
from lightning_gen.metrics.augmentation import Labelled, some_of_each_class
from lightning_gen.metrics.probing import PCA, cluster_quality
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.models.classifier import Classifier
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.pictures.charts import COLOURS


class Plan(NamedTuple):
    """The sizes of the lesson."""

    widths: tuple[int, ...]  # of the first autoencoder's hidden layers
    code: int  # numbers in its code
    plane: tuple[int, ...]  # hidden layers of the second one, whose code is two numbers
    steps: int  # training steps of the first autoencoder; the second has three times as many
    counts: tuple[int, ...]  # labels a class
    seeds: int  # of the labelled images and the classifiers
    classifier_steps: int


FULL = Plan((300,), 150, (128, 64, 10), 1000, (10, 100, 1000), 3, 300)  # 784-300-150 and 784-128-64-10-2
QUICK = Plan((64,), 32, (64, 32), 300, (2, 20), 2, 60)  # on images of 8x8


def untrained(data: Splits, widths: tuple[int, ...], code: int, seed: int) -> Autoencoder:
    """An autoencoder with random weights."""
    torch.manual_seed(seed)
    encoder, decoder = partial(MLPEncoder, widths=list(widths)), partial(MLPDecoder, widths=list(widths[::-1]))
    return Autoencoder(data.train.image_shape, encoder, decoder, torch.optim.Adam, latent_dim=code)


def autoencoder(data: Splits, widths: tuple[int, ...], code: int, steps: int) -> Autoencoder:
    """An autoencoder that is trained on all training images, without their labels."""
    model = untrained(data, widths, code, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(data.train), (128,))
        loss = model.joint_terms(data.train.images[chosen] / 255, None, model.noise)[0].mean()
        model.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def codes(model: Autoencoder, images: Tensor) -> Tensor:
    return torch.cat([model.encode(part / 255) for part in images.split(1000)])


def linear(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """The accuracy of logistic regression."""
    scale = train.std().clamp_min(1e-6)
    fitted = LogisticRegression(max_iter=100).fit((train / scale).numpy(), train_labels.numpy())
    return float(fitted.score((test / scale).numpy(), test_labels.numpy()))


def network(source: Autoencoder, train: Labelled, test: Labelled, steps: int, seed: int) -> float:
    """The accuracy of a softmax on the codes, when the encoder of `source` is trained with it."""
    torch.manual_seed(seed)
    model = Classifier(source.image_shape, copy.deepcopy(source), torch.optim.Adam, num_classes=10)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
    for _ in range(steps):
        chosen = torch.randint(len(train.labels), (min(64, len(train.labels)),))
        loss = F.cross_entropy(model(train.images[chosen] / 255), train.labels[chosen])
        model.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((model.eval()(test.images / 255).argmax(dim=1) == test.labels).float().mean())


def accuracies(data: Splits, source: Autoencoder, plan: Plan) -> dict[str, list[float]]:
    """Test accuracies by what the classifier sees, for each number of labels a class: means over seeds."""
    train, test = (Labelled(part.images, part.labels) for part in (data.train, data.test))
    pca = PCA(train.images, plan.code)
    spaces = {
        "pixels": lambda images: images.flatten(1) / 255,
        f"PCA-{plan.code}": pca.encode,
        "codes, frozen": partial(codes, source),
    }
    held_out = {name: space(test.images) for name, space in spaces.items()}
    found: dict[str, list[float]] = {}
    for count in plan.counts:
        sums: dict[str, float] = {}
        for seed in range(plan.seeds):
            some = some_of_each_class(train, count, seed)
            new = {
                name: linear(space(some.images), some.labels, held_out[name], test.labels)
                for name, space in spaces.items()
            }
            scratch = untrained(data, plan.widths, plan.code, seed)
            new["codes, fine-tuned"] = network(source, some, test, plan.classifier_steps, seed)
            new["from scratch"] = network(scratch, some, test, plan.classifier_steps, seed)
            sums = {name: sums.get(name, 0.0) + value / plan.seeds for name, value in new.items()}
        for name, value in sums.items():
            found.setdefault(name, []).append(value)
    return found


def few_labels(found: dict[str, list[float]], counts: tuple[int, ...]) -> Figure:
    """Accuracy against the number of labels."""
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    styles = {"pixels": ("s:", 3), "from scratch": ("o--", 2)}
    for index, (name, values) in enumerate(found.items()):
        style, colour = styles.get(name, ("o-", (0, 1, 4)[index % 3]))
        axes.plot(counts, [100 * value for value in values], style, color=COLOURS[colour], label=name)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="labelled images a class", ylabel="test accuracy, %")
    axes.set_title("Classifiers of digits that learn from few labels", loc="left", weight="bold")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def clusters(points: Tensor, labels: Tensor) -> Figure:
    """The codes of two numbers, in the colours of their classes."""
    figure = Figure(figsize=(7.6, 6.4), layout="constrained")
    axes = figure.add_subplot()
    for digit in range(10):
        mine = points[labels == digit]
        axes.scatter(*mine.T, s=max(4, 20_000 / len(points)), color=COLOURS[digit], alpha=0.6, linewidths=0)
        style = {"size": 13, "weight": "bold", "ha": "center", "va": "center"}
        axes.text(*mine.median(dim=0).values.tolist(), str(digit), bbox={"fc": "white", "lw": 0, "pad": 1}, **style)
    low, high = (torch.quantile(points, q, dim=0) for q in (0.005, 0.995))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="first number", ylabel="second number")
    axes.set_title("Codes of test digits, learned without labels", loc="left", weight="bold")
    return figure


def run(quick: bool) -> Result:
    """The classifiers and the clusters."""
    plan, data = (QUICK, digits(Decoding())) if quick else (FULL, mnist_small(Decoding()))
    found = accuracies(data, autoencoder(data, plan.widths, plan.code, plan.steps), plan)
    numbers = [
        Number(f"{name}, {count:,} labels a class, %", 100 * value)
        for name, values in found.items()
        for count, value in zip(plan.counts, values, strict=True)
    ]
    points = codes(autoencoder(data, plan.plane, 2, 3 * plan.steps), data.test.images)
    pca = PCA(data.train.images, 2).encode(data.test.images)
    for name, some in (("codes", points), ("PCA-2", pca)):
        share = cluster_quality(some, data.test.labels, 10)["kmeans_accuracy"]
        numbers.append(Number(f"{name} of two numbers, images in the cluster of their class, %", 100 * share))
    return numbers, {"few_labels": few_labels(found, plan.counts), "clusters": clusters(points, data.test.labels)}


if __name__ == "__main__":
    main(__file__, run)
