"""How good samples of tables are, between a copy of the training rows and independent columns: docs/tables.md.

    python benchmarks/tables.py --runs runs/tables --out docs/images/tables.png

trains an AE, a VAE, a GAN and a GMM with three seeds each on two of scikit-learn's data sets: five minutes on one
core that has nothing else to do. Runs that are there already are not trained again. It prints a table of means and
standard deviations for each data set, and draws all numbers.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from trained_runs import summary_of  # benchmarks/trained_runs.py

from lightning_gen.data.imageset import Decoding, Splits
from lightning_gen.data.sources.table import table
from lightning_gen.metrics.table_evaluator import TableEvaluator
from lightning_gen.pictures.charts import COLOURS

COMMON = (
    *("dataset=table", "networks=mlp", "logger=csv", "report=false", "hardware=cpu"),
    *("trainer.enable_progress_bar=false", "evaluation.every_n_steps=100000", "evaluation.nll.k=0"),
    *("evaluation.projection=null", "networks.encoder.widths=[128,128]"),
)
SETS = {  # name: path, columns that are left out, what it is
    "diabetes": ("sklearn:diabetes", ["sex"], "10 numeric columns, 442 rows; TSTR is the R² of the target"),
    "breast_cancer": (
        "sklearn:breast_cancer",
        [],
        "30 numeric columns and the diagnosis, 569 rows; TSTR is the accuracy of the diagnosis",
    ),
}
STEPS = {"AE": 2000, "VAE": 2000, "GAN": 3000, "GMM": 200}  # of the GMM, iterations: it converges in fewer
METRICS = {  # name in the table: name of the metric, which end is best
    "marginals": ("marginals", "lower is better"),
    "correlations": ("correlations", "lower is better"),
    "C2ST": ("c2st", "0.5 is best"),
    "TSTR": ("tstr", "higher is better"),
    "distance to training rows": ("nearest_train_ratio", "1 is best, 0 copies"),
}
SEEDS = (0, 1, 2)
SAMPLES = 1000
Results = dict[str, list[dict[str, float]]]  # the metrics of each seed, by the name of a row
Source = Callable[[int, torch.Generator], Tensor]


def trained(folder: Path, *overrides: str) -> dict[str, float]:
    """The metrics of the run in this folder, trained with these overrides unless it has been."""
    metrics = summary_of(folder, (*COMMON, *overrides))["metrics"]
    return {name.removeprefix("eval/"): value for name, value in metrics.items()}


def copies(splits: Splits) -> Source:
    """The training rows in random order, without repetition."""
    rows = splits.train.images
    return lambda count, generator: rows[torch.randperm(len(rows), generator=generator)[:count]]


def independent(splits: Splits) -> Source:
    """Each column drawn on its own from the training rows."""
    assert splits.train.table is not None
    rows, places = splits.train.images, splits.train.table.slices.values()

    def draw(count: int, generator: torch.Generator) -> Tensor:
        drawn = [rows[torch.randint(len(rows), (count,), generator=generator)][..., place] for place in places]
        return torch.cat(drawn, dim=-1)

    return draw


def measured(evaluator: TableEvaluator, source: Source, seed: int) -> dict[str, float]:
    """The metrics of rows drawn with this seed."""
    metrics, _ = evaluator(lambda count, _: source(count, torch.Generator().manual_seed(seed)))
    return {name.removeprefix("eval/"): value for name, value in metrics.items()}


def results_of(name: str, runs: Path) -> Results:
    """The metrics of the two references and of each model on one data set."""
    path, drop, _ = SETS[name]
    splits = table(Decoding(), path, drop=drop)
    assert splits.train.table is not None
    evaluator = TableEvaluator(splits.train.table, splits.test.images, splits.train.images, num_samples=SAMPLES)
    references = {"copy of the training rows": copies(splits), "independent columns": independent(splits)}
    found = {row: [measured(evaluator, source, seed) for seed in SEEDS] for row, source in references.items()}
    options = (f"dataset.path={path}", f"dataset.drop=[{','.join(drop)}]", f"evaluation.num_samples={SAMPLES}")
    for row, steps in STEPS.items():
        own = (f"model={row.lower()}", f"trainer.max_steps={steps}", *options)
        found[row] = [trained(runs / f"{name}_{row.lower()}_{seed}", *own, f"seed={seed}") for seed in SEEDS]
    return found


def printed(results: Results) -> str:
    """A Markdown table with a row for each model: mean and standard deviation over the seeds."""
    lines = [f"| | {' | '.join(METRICS)} |", "|---|" + "---|" * len(METRICS)]
    for row, seeds in results.items():
        columns = [[metrics[name] for metrics in seeds] for name, _ in METRICS.values()]
        lines.append(f"| {row} | {' | '.join(f'{mean(v):.3f} ± {stdev(v):.3f}' for v in columns)} |")
    return "\n".join(lines)


def chart(results: dict[str, Results]) -> Figure:
    """A panel for each data set and metric: a dot for each seed of a model, and lines for the two references."""
    shown = list(METRICS.items())[:4]
    height = 2.9 * len(results) + 0.9
    made = Figure(figsize=(10.5, height), dpi=100)
    panels = made.subplots(len(results), len(shown), squeeze=False)
    made.subplots_adjust(left=0.045, right=0.99, top=1 - 1.15 / height, bottom=0.05, hspace=0.5, wspace=0.28)
    for row, (name, found) in zip(panels, results.items(), strict=True):
        for panel, (title, (metric, best)) in zip(row, shown, strict=True):
            draw_panel(panel, found, metric)
            panel.set_title(f"{name}: {title}\n{best}", size=9, loc="left")
    made.text(0.012, 1 - 0.14 / height, "How good samples of tables are", size=13, weight="bold", va="top")
    place: Any = {"loc": "lower left", "bbox_to_anchor": (0.006, 1 - 0.72 / height)}
    made.legend(*panels[0][0].get_legend_handles_labels(), **place, ncols=3, frameon=False)
    return made


def draw_panel(panel: Axes, found: Results, metric: str) -> None:
    """One metric of the models on one data set."""
    for reference, colour in (("copy of the training rows", COLOURS[3]), ("independent columns", COLOURS[2])):
        level = mean(metrics[metric] for metrics in found[reference])
        panel.axhline(level, color=colour, linestyle="--", linewidth=1.5, label=reference)
    places, values = zip(*((i, m[metric]) for i, name in enumerate(STEPS) for m in found[name]), strict=True)
    panel.scatter(places, values, s=26, color=COLOURS[0], zorder=3, label="a model, each dot another seed")
    panel.set_xticks(range(len(STEPS)), list(STEPS))
    low, high = panel.get_ylim()
    panel.set(xlim=(-0.6, len(STEPS) - 0.4), ylim=(0.45 if metric == "c2st" else min(low, 0), high * 1.04))
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tables"))
    parser.add_argument("--out", type=Path, default=Path("tables.png"))
    arguments = parser.parse_args()
    results = {name: results_of(name, arguments.runs) for name in SETS}
    for name, found in results.items():
        print(f"**{name}**: {SETS[name][2]}\n\n{printed(found)}\n")
    chart(results).savefig(arguments.out)


if __name__ == "__main__":
    main()
