"""The section of a search: its best setting, what mattered, and all settings in order."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lightning_gen.errors import UserError
from lightning_gen.report import search_charts as draw
from lightning_gen.report.charts import Plot, as_item
from lightning_gen.report.page import Group
from lightning_gen.runs.run import Run
from lightning_gen.search.leaderboard import (
    Entry,
    Leaderboard,
    as_study,
    command_of,
    importances,
    leaderboard,
    rounded,
    short_names,
)

MOST_COMMANDS = 5  # settings of a Pareto front whose commands are shown
MOST_KEYS = 6  # keys with a chart of their own


def board_of(runs: Sequence[Run], metrics: Sequence[str] = ()) -> Leaderboard | None:
    """The runs in order; None if they are one setting, or no metric orders all of them."""
    try:
        board = leaderboard(runs, metrics)
    except UserError:
        return None
    return board if len(board.entries) > 1 else None


def groups_of(board: Leaderboard, runs: Sequence[Run]) -> list[Group]:
    """The settings in order, each with its runs."""
    by_path = {run.path: run for run in runs}
    named = params_of(board)
    return [Group(named[id(entry)], [by_path[path] for path in entry.paths]) for entry in board.entries]


def params_of(board: Leaderboard) -> dict[int, str]:
    """`3: lr=0.001 width=64` for each entry, by its identity."""
    short = short_names([key for entry in board.entries for key in entry.params])

    def said(entry: Entry) -> str:
        return " ".join(f"{short[key]}={rounded(value)}" for key, value in entry.params.items())

    return {id(entry): f"{entry.name}: {said(entry)}" for entry in board.entries}


def section(board: Leaderboard) -> dict[str, Any]:
    """What the page shows of a search; its charts as JSON under `items`."""
    charts, items = [], {}
    for number, (name, text, make) in enumerate(_charts(board)):
        try:
            plot = make()
        except ValueError:  # too few points, or points on a line
            continue
        items[f"search{number}"] = as_item(plot)
        charts.append({"id": f"search{number}", "name": name, "meaning": text})
    front = board.front()[:MOST_COMMANDS]
    title = "best setting" if len(board.metrics) == 1 else "on the front"
    return {
        "title": "Search",
        "text": _text(board),
        "commands": [(f"{title}, run {entry.name}", command_of(entry.paths[0], seed=False)) for entry in front],
        "charts": charts,
        "items": items,
        **_table(board),
    }


def _charts(board: Leaderboard) -> list[tuple[str, str, Callable[[], Plot]]]:
    """Name, explanation and maker of each chart that the entries allow."""
    metric, better = board.metrics[0], {"min": "lower", "max": "higher"}[board.modes[0]]
    study = as_study(board)
    found: list[tuple[str, str, Callable[[], Plot]]] = [
        (
            "Learning curves",
            f"{metric}, {better} is better. Orange: the best. Blue: completed. Grey: pruned, failed or stopped.",
            partial(draw.learning_curves, board, params_of(board)),
        )
    ]
    if len(board.metrics) > 1:
        text = "Orange: no other setting is better in every metric."
        found.append(("Pareto front", text, partial(draw.pareto, board, params_of(board))))
    if len(study.trials) < 2 or not study.trials[0].params:
        return found
    shares = importances(study)
    keys = list(shares or study.trials[0].params)[:MOST_KEYS]
    if shares:
        text = f"The share of each key in how much {metric} varies (fANOVA)."
        found.append(("What mattered", text, partial(draw.importance_bars, shares)))
    text = "Each line is a setting. Orange: the best. Blue: the best quarter. Grey: the others."
    found.append(("All keys together", text, partial(draw.parallel, board, study)))
    for key in keys:
        found.append((f"{metric} against {key}", "Orange: the best.", partial(draw.slice_of, board, study, key)))
    for one, other in draw.pairs(study, keys):
        text = f"{metric} between the settings that were tried."
        found.append((f"{one} and {other}", text, partial(draw.contour, board, study, one, other)))
    return found


def _text(board: Leaderboard) -> str:
    statuses = [entry.status for entry in board.entries]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    better = {"min": "lower is better", "max": "higher is better"}
    wanted = " and ".join(f"{m} ({better[mode]})" for m, mode in zip(board.metrics, board.modes, strict=True))
    return f"{len(board.entries)} settings: {counts}. In order of {wanted}."


def _table(board: Leaderboard) -> dict[str, Any]:
    """All settings in order: the head of the table, and its rows."""
    short = short_names([key for entry in board.entries for key in entry.params])
    front = {id(entry) for entry in board.front()}
    rows = [
        {
            "best": id(entry) in front,
            "cells": [
                str(place),
                entry.name,
                *entry.shown,
                entry.status,
                *(rounded(entry.params.get(key, "")) for key in short),
            ],
        }
        for place, entry in enumerate(board.entries, start=1)
    ]
    return {"head": ["", "run", *board.metrics, "status", *short.values()], "rows": rows}
