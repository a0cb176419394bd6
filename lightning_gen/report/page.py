"""The page: one HTML file with everything in it, which asks the network for nothing.

A run directory may come from a stranger. Everything from it is escaped, and the page's own security policy lets a
browser run no script but the three that are written here.
"""

import datetime
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lightning_gen.data.words import IMAGES, worded
from lightning_gen.files import shortest
from lightning_gen.report import charts, curves, tables
from lightning_gen.report.glossary import meaning
from lightning_gen.report.history import AXES, MOST_POINTS, Chart, History, read_history
from lightning_gen.report.history import charts as all_charts
from lightning_gen.report.html import own_file, rendered
from lightning_gen.report.pictures import albums, embedded, thinned
from lightning_gen.runs.comparison import Comparison, row_names
from lightning_gen.runs.run import Run
from lightning_gen.search.leaderboard import command_of

Say = Callable[[str], str]  # a text about images as one about what the runs are trained on, see `worded`

MOST_GROUPS = charts.COLOURS  # settings on a page
MOST_SHOWN = 4  # settings whose pictures are shown, one run of each


@dataclass
class Group:
    """One setting: its name, and its runs, which differ only in the seed."""

    name: str
    runs: list[Run]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs that differ only in the seed together, named by what tells them apart."""
    names = row_names(list(runs))
    found: dict[str, Group] = {}
    for run in runs:
        found.setdefault(names[run.path], Group(names[run.path], [])).runs.append(run)
    return list(found.values())


def page(groups: Sequence[Group], title: str = "", search: dict[str, Any] | None = None, live: str = "") -> str:
    """The page of these settings, as HTML.

    Args:
        groups: one or more.
        title: the heading; the name of the first setting if it is empty.
        search: what `search.py` says of a search, for its own section.
        live: what identifies the state of a run that is still training; a page with it loads itself again when the
            server's answer to `state` is another.
    """
    shown = list(groups)[:MOST_GROUPS]
    runs = [run for group in shown for run in group.runs]
    histories = {run.path: read_history(run.path) for run in runs}
    say = partial(worded, unit=_unit(runs))
    items: dict[str, charts.Item] = dict(search.pop("items")) if search else {}
    parts = {
        **_curves(shown, histories, items, say),
        **_pictures(shown, say),
        **_metrics(shown, runs, histories, say),
        "groups": [_described(group, colour) for colour, group in enumerate(shown)],
        "notes": _left_out(len(groups), len(shown)),
        "differences": tables.differences([group.runs[0] for group in shown]) if len(shown) > 1 else {},
        "search": search,
    }
    data = {"charts": items, "steps": parts["steps"], "pictures": parts.pop("embedded"), "live": live}
    data["axes"] = {axis: name for axis, name, _ in parts["axes"]}
    first = runs[0]
    heading = title or (shown[0].name if len(shown) == 1 else f"{len(shown)} settings compared")
    count = sum(len(group.runs) for group in groups)
    subtitle = shortest(first.path) if count == 1 else f"{count} runs"
    return _render(data, **parts, say=say, title=heading, subtitle=subtitle, live=live, contents=_contents(parts))


def _unit(runs: Sequence[Run]) -> str:
    """What all of these runs are trained on; images if they differ."""
    units = {run.unit for run in runs}
    return units.pop() if len(units) == 1 else IMAGES


def _curves(
    groups: Sequence[Group], histories: dict[Path, History], items: dict[str, charts.Item], say: Say
) -> dict[str, Any]:
    """The charts over time in three sections; their JSON is added to `items`."""
    names = [group.name for group in groups]
    found = all_charts([[histories[run.path] for run in group.runs] for group in groups])
    monitors = {str(run.read_summary().get("best", {}).get("metric")) for group in groups for run in group.runs[:1]}
    sections: dict[str, list[dict[str, str]]] = {}
    for number, chart in enumerate(sorted(found, key=lambda chart: f"eval/{chart.quantity}" not in monitors)):
        key = f"curve{number}"
        items[key] = charts.as_item(curves.draw(chart, names, say))
        about = {"id": key, "name": chart.quantity, "better": chart.better, "meaning": say(meaning(chart.quantity))}
        sections.setdefault(_section(chart), []).append(about)
    titles = ("Main curves", "More of the held-out images", "More of training")
    lines = [line for chart in found for line in chart.lines]
    thin = any(len(line.points["value"]) == MOST_POINTS for line in lines)
    return {
        "sections": [{"title": say(title), "charts": sections[title]} for title in titles if title in sections],
        "axes": [(axis, say(name), all(axis in line.points for line in lines)) for axis, name in AXES.items()],
        "parts": {line.part for line in lines},
        "bands": any("low" in line.points for line in lines),
        "curves_note": f"Curves of more than {MOST_POINTS} points are thinned evenly." if thin else "",
    }


def _section(chart: Chart) -> str:
    if chart.better or len(chart.parts) > 1:
        return "Main curves"
    return "More of the held-out images" if "held-out images" in chart.parts else "More of training"


def _pictures(groups: Sequence[Group], say: Say) -> dict[str, Any]:
    """The albums of the first run of each setting, and the pictures themselves under `embedded`."""
    shown = groups[:MOST_SHOWN]
    found, fewer = thinned(albums([group.runs[0].path for group in shown]))
    steps = sorted({step for album in found for files in album.files for step in files})
    notes = ["Not every step is on this page: the pictures are chosen evenly."] if fewer else []
    if len(groups) > len(shown):
        notes.append(f"Pictures of the first {len(shown)} settings.")
    if any(len(group.runs) > 1 for group in shown):
        notes.append("Pictures of the first seed of each setting.")
    listed = [
        {
            "kind": album.kind,
            "title": say(album.title),
            "text": say(album.text),
            "names": [group.name for group in shown],
            "there": [bool(files) for files in album.files],
        }
        for album in found
    ]
    made = {album.kind: embedded(album) for album in found}
    return {"albums": listed, "steps": steps, "pictures_note": " ".join(notes), "embedded": made}


def _metrics(groups: Sequence[Group], runs: list[Run], histories: dict[Path, History], say: Say) -> dict[str, Any]:
    """The table of metrics: of one run with the ends of its scale, of several against each other."""
    if len(runs) > 1:
        return {"measured": [], "comparison": _compared(tables.compared(runs), groups, say)}
    measured = tables.metrics(runs[0], histories[runs[0].path])
    ends = {f"has_{end}": any(getattr(row, end) for row in measured) for end in ("training", "real", "noise")}
    return {"measured": measured, "comparison": None, **ends}


def _compared(table: Comparison | None, groups: Sequence[Group], say: Say) -> dict[str, Any] | None:
    if table is None:
        return None
    several = len({row.checkpoint for row in table.rows if row.runs}) > 1
    own = {run.path: group.name for group in groups for run in group.runs}
    shown = [own[row.runs[0]] if row.runs else row.name for row in table.rows]
    ends = [f" ({row.checkpoint})" if several and row.checkpoint else "" for row in table.rows]
    rows = [
        {
            "name": table.headers[column],
            "meaning": say(meaning(column[0])),
            "cells": [{"text": row.cell(column), "best": table.is_best(row, column)} for row in table.rows],
        }
        for column in table.columns
    ]
    return {"names": [name + end for name, end in zip(shown, ends, strict=True)], "rows": rows, "notes": table.notes}


def _described(group: Group, colour: int) -> dict[str, Any]:
    runs = []
    for run in group.runs:
        facts, where = tables.facts(run), shortest(run.path)
        commands = [("train it again", command_of(run.path))]
        if (run.path / "samples").is_dir():
            commands.append(("draw samples", f"lightning-gen sample {shlex.quote(where)}"))
        seed = f", seed {facts.get('Seed')}" if len(group.runs) > 1 else ""
        short = ", ".join(
            f"{facts[name]} {unit}".strip() for name, unit in (("Steps", "steps"), ("Time", "")) if name in facts
        )
        about = {"title": group.name + seed, "status": facts.get("Status", "unknown"), "short": short}
        runs.append({**about, "facts": facts, "commands": commands, "config": tables.config_text(run)})
    return {"name": group.name, "colour": colour, "runs": runs}


def _left_out(given: int, shown: int) -> list[str]:
    return [f"{given} settings: the first {shown} are shown below in detail."] if given > shown else []


def _contents(parts: dict[str, Any]) -> list[tuple[str, str]]:
    listed = {"search": "Search", "runs": "What ran", "pictures": "Pictures", "curves": "Curves"}
    listed |= {"metrics": "Metrics", "differences": "Configs"}
    there = {
        "search": parts["search"],
        "runs": True,
        "pictures": parts["albums"],
        "curves": parts["sections"],
        "metrics": parts["measured"] or parts["comparison"],
        "differences": parts["differences"],
    }
    return [(name, text) for name, text in listed.items() if there[name]]


# -- writing it ------------------------------------------------------------------------------------------------


def _render(data: dict[str, Any], live: str, **parts: Any) -> str:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return rendered(
        "page.html",
        scripts={"library": _library(), "script": own_file("page.js")},
        connect="'self'" if live else "'none'",
        live=live,
        data=Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")),
        now=f"{datetime.datetime.now():%d %B %Y, %H:%M}",
        **parts,
    )


@lru_cache(maxsize=1)
def _library() -> str:
    """BokehJS, as it comes with the package."""
    found = find_spec("bokeh")
    assert found is not None
    assert found.origin is not None
    script = Path(found.origin).parent / "server" / "static" / "js" / "bokeh.min.js"
    return script.read_text(encoding="utf-8").replace("</script", r"<\/script")
