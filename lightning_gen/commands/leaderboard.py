"""The command `lightning-gen leaderboard`: the trials of a search in order, and plots of the search."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from matplotlib import pyplot
from rich.table import Table

from lightning_gen.commands.compare import readable
from lightning_gen.commands.terminal import console
from lightning_gen.files import shortest, write_atomically
from lightning_gen.report.page import page
from lightning_gen.report.search import groups_of, section
from lightning_gen.search.leaderboard import (
    Leaderboard,
    as_study,
    command_of,
    importances,
    leaderboard,
    rounded,
    short_names,
    trials_in,
)

MOST_PLOTTED = 6  # keys in the grid of contours
TITLES = {
    "curves": "{metric} of {count} trials over training",
    "pareto": "{count} trials: the best compromises between the metrics",
    "importances": "How much of the variance of {metric} each key explains, over {count} trials",
    "parallel": "The values of {count} trials and their {metric}",
    "slices": "{metric} of {count} trials against each key",
    "contours": "{metric} over pairs of keys, interpolated between {count} trials",
}
GREY, BLUE, RED = "#b0b0b0", "#0072b2", "#d55e00"  # colour-blind safe


def show_leaderboard(paths: Sequence[Path], metrics: Sequence[str], plots: bool) -> Leaderboard:
    """Print the runs at these paths in order and write plots next to them.

    Raises:
        UserError: there is no readable run, or no metric that they share.
    """
    runs = readable(trials_in(paths))
    board = leaderboard(runs, metrics)
    out = console()
    out.print(as_table(board))
    if any(len(entry.paths) > 1 for entry in board.entries):
        out.print("± standard deviation over runs that differ in the seed")
    best = board.front()
    for entry in best[: 1 if len(board.metrics) == 1 else len(best)]:
        out.print(f"best  {command_of(entry.paths[0], seed=False)}")
    study = as_study(board)
    for key, share in importances(study).items():
        out.print(f"importance of {key}: {share:.2f}")
    if plots:
        folder = (paths[0] if paths[0].is_dir() else Path.cwd()) / "leaderboard"
        drawn = draw(board, study, folder)
        out.print(f"plots {', '.join(f'{name}.png' for name in drawn)} in {shortest(folder)}")
        write_atomically(folder / "report.html", page(groups_of(board, runs), folder.parent.name, section(board)))
        out.print(f"page  {shortest(folder)}/report.html")
    return board


def as_table(board: Leaderboard) -> Table:
    """A row for each entry: place, run, metrics, status and the values that were tried."""
    short = short_names([key for entry in board.entries for key in entry.params])
    front = {id(entry) for entry in board.front()}
    table = Table(show_edge=False, pad_edge=False, box=None)
    for title in ("", "run", *(name.removeprefix("eval/") for name in board.metrics), "status"):
        table.add_column(title, no_wrap=True)
    table.add_column("values", overflow="fold")
    for place, entry in enumerate(board.entries, start=1):
        star = "*" if id(entry) in front else str(place)
        params = " ".join(f"{short[key]}={rounded(value)}" for key, value in entry.params.items())
        table.add_row(star, entry.name, *entry.shown, entry.status, params)
    return table


def draw(board: Leaderboard, study: optuna.Study, folder: Path) -> list[str]:
    """Write the plots that the entries allow, and return their names."""
    matplotlib.use("Agg")
    folder.mkdir(exist_ok=True)
    plots: dict[str, Any] = {"curves": lambda: _curves(board)}
    several = len(study.trials) > 1 and bool(study.trials[0].params)
    if several:
        visual = optuna.visualization.matplotlib
        options: dict[str, Any] = {"target_name": board.metrics[0]}
        if len(board.metrics) > 1:
            options["target"] = lambda trial: trial.values[0]
            plots["pareto"] = lambda: visual.plot_pareto_front(study, target_names=board.metrics)
        keys = list(importances(study) or study.trials[0].params)[:MOST_PLOTTED]
        if len(study.trials) >= 4:
            plots["importances"] = lambda: visual.plot_param_importances(study, **options)
        plots["parallel"] = lambda: visual.plot_parallel_coordinate(study, **options)
        plots["slices"] = lambda: visual.plot_slice(study, **options)
        if len(keys) > 1:
            plots["contours"] = lambda: visual.plot_contour(study, params=keys, **options)
    drawn = []
    for name, plot in plots.items():
        try:
            plot()
            figure = pyplot.gcf()
            for axes in figure.axes:
                axes.set_title("")
            words = TITLES[name].format(metric=board.metrics[0], count=len(board.entries))
            figure.suptitle(words, x=0.01, ha="left", weight="bold", size=12)
            width = max(7.0, 3.2 * len(keys)) if name in ("slices", "contours") else 8.0
            figure.set_size_inches(width, width if name == "contours" else 5.0)
            figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
            drawn.append(name)
        except ValueError as error:  # such as importances of values that do not vary
            print(f"note: no plot {name}: {error}", file=sys.stderr)
        finally:
            pyplot.close("all")
    return drawn


def _curves(board: Leaderboard) -> None:
    """The metric over steps: pruned and failed trials grey, the best one thick."""
    axes = pyplot.figure(layout="constrained").subplots()
    for entry in reversed(board.entries):
        style: dict[str, Any] = {"color": BLUE, "linewidth": 1, "alpha": 0.6}
        if not entry.completed:
            style = {"color": GREY, "linewidth": 1, "marker": "x", "markevery": [-1]}
        elif entry is board.entries[0]:
            style = {"color": RED, "linewidth": 2.5}
        for curve in entry.curves:
            if curve:
                axes.plot(*zip(*curve, strict=True), **style)
    for label, style in (
        ("best", {"color": RED, "linewidth": 2.5}),
        ("completed", {"color": BLUE}),
        ("pruned, failed or stopped", {"color": GREY, "marker": "x"}),
    ):
        axes.plot([], [], label=label, **style)
    axes.set(xlabel="step", ylabel=board.metrics[0])
    values = [value for entry in board.entries for curve in entry.curves for _, value in curve]
    if values and min(values) > 0 and max(values) / min(values) > 20:
        axes.set_yscale("log")
    axes.legend()
