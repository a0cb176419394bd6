"""lightning-gen anomalies: score images by how strange a model finds them, and measure the scores."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from lightning_gen.commands.terminal import console
from lightning_gen.config.build import build_data
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.anomalies import Scores, anomaly_scores
from lightning_gen.evaluation.anomaly_images import Part, batches, every_image, kinds_of_images
from lightning_gen.evaluation.anomaly_pictures import extremes, histograms
from lightning_gen.evaluation.headings import heading
from lightning_gen.files import shortest, write_atomically
from lightning_gen.metrics.anomalies import Interval, separation
from lightning_gen.metrics.protocol import versions
from lightning_gen.models.base import GenerativeModel
from lightning_gen.networks.shapes import is_vector
from lightning_gen.pictures import Picture, save_picture
from lightning_gen.progress import progress
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run

Results = dict[str, dict[str, Interval]]  # by score, then by measure


@dataclass(frozen=True)
class Options:
    """The options of the command.

    `data`: another data set, whose test images are the anomalies, with `overrides`. `images`: at most so many of each
    kind. The others as in `anomaly_scores`.
    """

    data: str | None = None
    overrides: tuple[str, ...] = ()
    background: Path | None = None
    draws: int = 20
    neighbours: int = 5
    images: int | None = None
    checkpoint: str = "best"


def find_anomalies(run_dir: Path, options: Options) -> Results:
    """Score images, print a table, and write anomalies.csv and pictures into RUN/anomalies/NAME/.

    The test images of the run are normal. The anomalies are those of `options.data`; without it, the test images of
    the classes that `dataset.classes` left out. A run of all classes gets scores and pictures only.

    Adds the table to `anomalies` in summary.json.

    Raises:
        UserError: a model without scores, or data that do not fit to the run.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    run.read_summary()  # fails now, not after the work, if it cannot be read
    with progress(None, "setting up data and model"):
        data, model = build_data(run.config), load_model(run, options.checkpoint)
        background = None if options.background is None else load_model(Run.load(options.background))
        if is_vector(model.image_shape) and model.table is None:
            raise UserError(f"anomalies is for images, and dataset={data.dataset} has points in the plane.")
        model.check_table(data)
        for one in (model, background):
            if one is not None:
                one.see_data(data, fresh=False)
        parts = kinds_of_images(run.config, data, options.data, list(options.overrides), options.images)
    with progress(None, f"scoring {sum(len(part.images) for part in parts):,} {data.unit}"):
        scores = anomaly_scores(
            model,
            lambda: batches(parts, data, model.device),
            data,
            options.draws,
            options.neighbours,
            background,
        )
    results = measured(scores, parts, data.seed)
    protocol = protocol_of(parts, scores, options, model, data)
    print_results(scores, results, parts, data.unit)
    name = Path(options.data or ("classes" if len(parts) > 1 else "test")).name
    write(run.path / "anomalies" / name, scores, parts, heading(model, data.dataset, model.step_loaded))
    entry = {"metrics": {score: {k: list(v) for k, v in its.items()} for score, its in results.items()}}
    run.add_evaluation(entry | {"protocol": protocol}, "anomalies")
    return results


# -- the numbers -----------------------------------------------------------------------------------------------


def measured(scores: Scores, parts: list[Part], seed: int) -> Results:
    """AUROC and average precision of each score; {} if it is not known which images are anomalies."""
    if len(parts) < 2:
        return {}
    normal = len(parts[0].images)
    return {name: separation(v[:normal], v[normal:], seed=seed) for name, v in scores.values.items()}


def protocol_of(
    parts: list[Part], scores: Scores, options: Options, model: GenerativeModel, data: ImageDataModule
) -> dict[str, Any]:
    """How the numbers were measured."""
    sets = [{"data": part.name, "classes": list(part.images.classes), "n": len(part.images)} for part in parts]
    return {
        **dict(zip(("normal", "anomalies"), sets, strict=False)),
        "split": "test",
        "scores": scores.what,
        "background": None if options.background is None else str(options.background),
        "interval": f"95 %, 1,000 bootstrap resamples of the test {data.unit}",
        "seed": data.seed,
        "checkpoint": options.checkpoint,
        "step": model.step_loaded,
        "ema": model.averaged,
        "versions": versions(),
    }


def anomaly_table(results: Results, parts: list[Part], unit: str) -> Table:
    """A row for each score: AUROC and average precision, each with its interval."""
    table = Table(show_edge=False, pad_edge=False, box=None)
    normal, anomalies = (len(part.images) for part in parts)
    table.add_column(f"{normal:,} normal {unit}, {anomalies:,} anomalies", no_wrap=True)
    for name in ("AUROC", "average precision"):
        table.add_column(name, justify="right", no_wrap=True)
    for score, found in results.items():
        table.add_row(score, *(f"{value:.3f} ({low:.3f}-{high:.3f})" for value, low, high in found.values()))
    return table


def print_results(scores: Scores, results: Results, parts: list[Part], unit: str) -> None:
    """The table, if there are numbers, and what each score is."""
    if results:
        console().print(anomaly_table(results, parts, unit))
        console().print(f"in brackets: 95 % bootstrap intervals of the test {unit}\n")
    width = max(map(len, scores.what))
    for score, what in scores.what.items():
        console().print(f"{score:{width}}  {what}")


# -- what is written -------------------------------------------------------------------------------------------


def write(folder: Path, scores: Scores, parts: list[Part], line: str) -> None:
    """anomalies.csv, a histogram of each score, and the strangest and most ordinary images by each."""
    of_images = parts[0].images.table is None
    pictures: dict[str, Picture] = {name: extremes(scores, name, parts) for name in scores.values if of_images}
    if len(parts) > 1:
        pictures["scores"] = histograms(scores, parts)
    try:
        write_atomically(folder / "anomalies.csv", csv_text(scores, parts))
        for name, picture in pictures.items():
            save_picture(picture.draw(line), folder / f"{name}.png")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); the numbers are above.") from error
    print(f"scores of {'images' if of_images else 'rows'}: {shortest(folder / 'anomalies.csv')}")
    if pictures:
        print(f"pictures: {', '.join(f'{name}.png' for name in pictures)} in the same folder")


def csv_text(scores: Scores, parts: list[Part]) -> str:
    """One row per image, with a column for each score."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["data", "image", "class", "anomaly", *scores.values])
    columns = zip(*(values.tolist() for values in scores.values.values()), strict=True)
    for (part, number, label, anomaly), row in zip(every_image(parts), columns, strict=True):
        writer.writerow([part.name, number, label, "" if anomaly is None else int(anomaly), *map(repr, row)])
    return file.getvalue()
