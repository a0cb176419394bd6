"""lightning-gen augment: does training with generated images make a classifier better?"""

import sys
from pathlib import Path

import torch
from rich.table import Table

from lightning_gen.commands.terminal import console
from lightning_gen.config.build import build_data
from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.words import POINTS, ROWS
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.metrics.augmentation import (
    Labelled,
    MeanInterval,
    classification_accuracy_score,
    half_and_half,
    interval,
    some_of_each_class,
    trained_accuracy,
)
from lightning_gen.metrics.protocol import versions
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import CHUNK
from lightning_gen.pictures import to_uint8
from lightning_gen.progress import progress
from lightning_gen.randomness import Stream, mix
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run

Accuracies = dict[str, list[float]]  # by what the classifier learned from, one for each seed
REAL, BOTH, ALONE = "real", "real and generated", "generated"


def augment_run(
    run_dir: Path, checkpoint: str, labels: list[int], seeds: int, generated: int, steps: int
) -> dict[str, Accuracies]:
    """Train classifiers on real images, with and without generated ones, and test them on the test images.

    Prints a table and adds it to `augmentations` in summary.json.

    Args:
        run_dir: the run of a conditional model.
        checkpoint: best, last, or a path.
        labels: numbers of real images of each class that the classifiers learn from.
        seeds: of the real images, the generated ones and the classifier, 2 or more.
        generated: the number of generated images, as many of each class.
        steps: training steps of each classifier, of 128 images.

    Raises:
        UserError: a model that is not conditioned on classes, or data without labels or that are not images.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    run.read_summary()  # fails now, not after the work, if it cannot be read
    data = build_data(run.config)
    check_run(run, data.unit)
    real, test = labelled(data.train), labelled(data.test)
    model = load_model(run, checkpoint)
    largest = int(torch.bincount(real.labels).max())
    if max(labels) > largest:
        print(
            f"note: --labels {max(labels)}: no class has more than {largest:,} images; all are used", file=sys.stderr
        )
    results: dict[str, Accuracies] = {str(count): {REAL: [], BOTH: []} for count in labels}
    results["all"] = {ALONE: []}
    with progress(seeds * (2 * len(labels) + 1), "training classifiers", "classifiers") as advance:
        for seed in range(seeds):
            fake = draw(model, generated, seed)
            results["all"][ALONE].append(classification_accuracy_score(fake, test, seed, steps))
            advance(1)
            for count in labels:
                some = some_of_each_class(real, count, seed)
                for kind, train in ((REAL, some), (BOTH, half_and_half(some, fake))):
                    results[str(count)][kind].append(trained_accuracy(train, test, seed, steps))
                    advance(1)
    protocol = {
        "generator_labels": len(real.labels),
        "generated": generated,
        "n_test": len(test.labels),
        "steps": steps,
        "seeds": seeds,
        "checkpoint": checkpoint,
        "step": model.step_loaded,
        "ema": model.averaged,
        "versions": versions(),
    }
    run.add_evaluation({"accuracy": results, "protocol": protocol}, "augmentations")
    print_results(results, len(real.labels))
    return results


def check_run(run: Run, unit: str) -> None:
    """Check that a run has images, see `ImageDataModule.unit`, and a model that is conditioned on classes.

    Raises:
        UserError: it does not; the message says what to do instead.
    """
    if unit == ROWS:
        raise UserError(
            f"{run.path} has rows of a table, and augment is for images. How well classifiers learn from generated "
            "rows is eval/tstr, which `lightning-gen evaluate RUN` measures for a table with a dataset.target."
        )
    if unit == POINTS:
        raise UserError(f"{run.path} has points in the plane, and augment is for images.")
    if not run.config.get("conditional"):
        raise UserError("augment needs a model that draws images of a given class: train it with conditional=true.")


def numbers_of(text: str) -> list[int]:
    """Whole numbers above 0 that commas separate.

    Raises:
        UserError: anything else.
    """
    if not all(part.strip().isdigit() and int(part) for part in text.split(",")):
        raise UserError(f"--labels {text}: write whole numbers with commas, such as 10,100,1000.")
    return [int(part) for part in text.split(",")]


def labelled(data: ImageSet) -> Labelled:
    """The images and labels of a split.

    Raises:
        UserError: it has no labels.
    """
    if data.labels is None:
        raise UserError("augment needs labelled images, and the data of this run have no labels.")
    return Labelled(data.images, data.labels)


@torch.no_grad()
def draw(model: GenerativeModel, count: int, seed: int) -> Labelled:
    """`count` generated images, as many of each class; the same for a seed on every device."""
    generator = torch.Generator().manual_seed(mix(seed, Stream.SAMPLES))
    labels = torch.arange(count) % model.num_classes
    images = [
        to_uint8(model.sample(len(part), generator, part.to(model.device))).cpu() for part in labels.split(CHUNK)
    ]
    return Labelled(torch.cat(images), labels)


def print_results(results: dict[str, Accuracies], generator_labels: int) -> None:
    """A row for each number of labels: accuracies, and the gain with its interval over seeds."""
    table = Table(show_edge=False, pad_edge=False, box=None)
    for name in ("labels a class", REAL, BOTH, "gain", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for count, found in results.items():
        if REAL in found:
            gains = interval([both - real for real, both in zip(found[REAL], found[BOTH], strict=True)])
            table.add_row(count, *(percent(interval(found[kind])) for kind in (REAL, BOTH)), *difference(gains))
    out = console()
    out.print(table)
    alone = interval(results["all"][ALONE])
    out.print(f"generated images alone (classification accuracy score): {percent(alone)}")
    out.print(f"The generator itself has learned from {generator_labels:,} labelled images.")


def percent(found: MeanInterval) -> str:
    return f"{100 * found.mean:.2f} %"


def difference(found: MeanInterval) -> tuple[str, str]:
    """A gain in percentage points, and its interval."""
    return f"{100 * found.mean:+.2f}", f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
