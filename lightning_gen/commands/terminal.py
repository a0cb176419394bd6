"""What is printed at the end of a run: a table of metrics, and where things are."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from lightning_gen.data.words import IMAGES
from lightning_gen.files import shortest
from lightning_gen.report.history import read_history, values_at
from lightning_gen.report.tables import BESIDE
from lightning_gen.runs.comparison import describe
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import COMPLETE, Run

WIDE = 1000  # characters of a line where nothing limits it
ENDS = {"_train": "training", "_floor": "real", "_noise": "noise"}  # columns next to a number's own, by their titles


def metrics_table(
    metrics: Mapping[str, float],
    protocols: Mapping[str, dict[str, Any]],
    best: Mapping[str, float] | None = None,
    unit: str = IMAGES,
) -> Group:
    """The metrics `eval/...`, next to each the ends of its scale, and below the table how they were measured.

    `best`: the same metrics of another checkpoint, for a column of their own. `unit`: what is counted.
    """
    metrics = {name.removeprefix("eval/"): v for name, v in metrics.items() if name.startswith("eval/")}
    own = [name for name in metrics if not (name.endswith(BESIDE) and name.rsplit("_", 1)[0] in metrics)]
    ends = [suffix for suffix in ENDS if any(name.endswith(suffix) for name in metrics)]
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column("metric", no_wrap=True)
    titles = ["value"] if best is None else ["last", "best"]
    for title in (*titles, *(ENDS[suffix] for suffix in ends)):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("how")
    ways: list[str] = []
    for name in own:
        std = metrics.get(f"{name}_std")
        values = [f"{metrics[name]:.4g}" + (f" ± {std:.2g}" if std is not None else "")]
        if best is not None:
            values.append(_short(best.get(f"eval/{name}")))
        beside = [_short(metrics.get(name + suffix)) for suffix in ends]
        how = describe(protocols.get(f"eval/{name}", {}), unit)
        if how and how not in ways:
            ways.append(how)
        table.add_row(name, *values, *beside, f"({ways.index(how) + 1})" if how else "")
    return Group(table, *(f"({number}) {how}" for number, how in enumerate(ways, 1)))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def report(run: Run, summary: dict[str, Any]) -> None:
    """Print the metrics and of which checkpoints they are, where things are, and what can be done next."""
    out = console()
    where = shortest(run.path)
    if "metrics" in summary:
        _print_metrics(run, summary, out)
    progress = summary.get("progress", {})
    out.print(
        f"{summary['status']}: {progress.get('step', 0):,} steps, {progress.get('images_seen', 0):,} {run.unit} "
        f"in {progress.get('seconds', 0):.0f} s"
    )
    if early := summary.get("early_stopping"):
        out.print(
            f"early    {early['metric']} has not improved in {early['patience']} evaluations up to step "
            f"{early['step']:,} (callbacks=early_stopping)"
        )
    if "peak_memory_gib" in progress:
        out.print(
            f"speed    {progress['images_per_second']:,.0f} {run.unit}/s with the evaluations, "
            f"{progress['waiting_for_data']:.0%} of the time waiting for data, {progress['peak_memory_gib']:.1f} GiB"
        )
    grids = sorted((run.path / "samples").glob("step_*.png"))
    out.print(f"run      {where}")
    if grids:
        out.print(f"samples  {shortest(grids[-1])}")
    if (run.path / "report.html").exists():
        out.print(f"report   {shortest(run.path / 'report.html')}")
    if any((run.path / "wandb").glob("offline-run-*")):
        out.print(f"upload   wandb sync {shlex.quote(where)}/wandb/offline-run-*")
    if summary["status"] in COMPLETE:
        for title, command in zip(("next", "", "", ""), next_commands(run, can_sample=bool(grids)), strict=False):
            out.print(f"{title:<8} {command}")
    elif summary["status"] != "pruned":
        out.print(f"resume   python train.py resume={shlex.quote(where)}")


def _print_metrics(run: Run, summary: dict[str, Any], out: Console) -> None:
    """The table, and below it which checkpoint each column is of."""
    step, best = summary.get("progress", {}).get("step", 0), summary.get("best", {})
    two = best.get("step") not in (None, step)
    columns = values_at(read_history(run.path), best["step"]) if two else None
    out.print(metrics_table(summary["metrics"], summary["protocol"], columns, run.unit))
    name = str(best.get("metric")).removeprefix("eval/")
    if two:
        out.print(f"last: last.ckpt, step {step:,}; best: best.ckpt, step {best['step']:,}, chosen by {name}")
    elif best.get("step") is not None:
        out.print(f"of last.ckpt, step {step:,}, which is also best.ckpt, chosen by {name}")
    else:
        out.print(f"of last.ckpt, step {step:,}")


def next_commands(run: Run, can_sample: bool) -> list[str]:
    """Commands for what to do after training, which work where this one was started."""
    program, where = program_name(), shlex.quote(shortest(run.path))
    commands = []
    if not (run.path / "report.html").exists():
        commands.append(f"{program} report {where} -o report.html")
    if can_sample:
        commands.append(f"{program} sample {where} -n 64 -o samples")
    same_data = Path("runs", run.config.dataset.name)  # where the next run on these data will be
    if same_data.resolve() in run.path.resolve().parents:
        other = "vae" if run.config.model.name != "vae" else "gan"
        asked = saved_overrides(run.path)
        chosen = [o for o in asked if o.startswith(("dataset=", "dataset.")) or o == "networks=mlp"]
        commands.append(f"{program} train {shlex.join([f'model={other}', *chosen])}")
        commands.append(f"{program} compare {shlex.quote(str(same_data))}")
    return commands


def program_name() -> str:
    """How to call `lightning-gen` in this shell, also if the environment has not been activated."""
    if shutil.which("lightning-gen"):
        return "lightning-gen"
    script = Path(sys.executable).with_name("lightning-gen")
    return shlex.quote(shortest(script)) if script.is_file() else f"{shlex.quote(sys.executable)} -m lightning_gen"


def console() -> Console:
    """Standard output without line breaks; plain text unless it is a terminal, also in a notebook.

    Brackets in a path are not markup, and paths get no colours. In a file or a pipe, tables are as wide as they are.
    """
    in_notebook = Console().is_jupyter  # there, standard output claims to be a terminal
    plain = False if in_notebook else None
    out = Console(soft_wrap=True, markup=False, highlight=False, force_jupyter=False, force_terminal=plain)
    if not (in_notebook or sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()):
        out.width = WIDE
    return out
