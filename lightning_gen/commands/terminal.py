"""What is printed at the end of a run: a table of metrics, and where things are."""

import shlex
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_gen.files import shortest
from lightning_gen.runs.comparison import describe
from lightning_gen.runs.run import Run

BESIDE = ("_floor", "_noise", "_std")  # shown next to a number, not in a separate row


def metrics_table(summary: dict[str, Any]) -> Table:
    """The metrics, next to each the ends of its scale and how it was measured (where that changes)."""
    metrics = {name.removeprefix("eval/"): v for name, v in summary["metrics"].items() if name.startswith("eval/")}
    own = [name for name in metrics if not (name.endswith(BESIDE) and name.rsplit("_", 1)[0] in metrics)]
    ends = [suffix for suffix in ("_floor", "_noise") if any(name.endswith(suffix) for name in metrics)]
    table = Table(show_edge=False, pad_edge=False, box=None)
    table.add_column("metric", no_wrap=True)
    for title in ("value", *({"_floor": "real", "_noise": "noise"}[suffix] for suffix in ends)):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("protocol", overflow="fold")
    said = ""
    for name in own:
        std = metrics.get(f"{name}_std")
        value = f"{metrics[name]:.4g}" + (f" ± {std:.2g}" if std is not None else "")
        beside = [f"{metrics[name + suffix]:.4g}" if name + suffix in metrics else "" for suffix in ends]
        how = describe(summary["protocol"].get(f"eval/{name}", {}))
        table.add_row(name, value, *beside, how if how != said else '"')
        said = how
    return table


def report(run: Run, summary: dict[str, Any]) -> None:
    """Print metrics, paths and the next command."""
    out = console()
    where = shortest(run.path)
    if "metrics" in summary:
        out.print(metrics_table(summary))
    progress = summary.get("progress", {})
    out.print(
        f"{summary['status']}: {progress.get('step', 0):,} steps, {progress.get('images_seen', 0):,} images "
        f"in {progress.get('seconds', 0):.0f} s"
    )
    if "peak_memory_gib" in progress:
        out.print(
            f"speed    {progress['images_per_second']:,.0f} images/s with the evaluations, "
            f"{progress['waiting_for_data']:.0%} of the time waiting for data, {progress['peak_memory_gib']:.1f} GiB"
        )
    grids = sorted((run.path / "samples").glob("step_*.png"))
    out.print(f"run      {where}")
    if grids:
        out.print(f"samples  {shortest(grids[-1])}")
    if (run.path / "report.html").exists():
        out.print(f"report   {shortest(run.path / 'report.html')}")
    if summary["status"] == "completed" and grids:
        out.print(f"next     lightning-gen sample {where} -n 64 -o samples")
    elif summary["status"] not in ("completed", "pruned"):
        out.print(f"resume   python train.py resume={shlex.quote(where)}")
    if any((run.path / "wandb").glob("offline-run-*")):
        out.print(f"upload   wandb sync {where}/wandb/offline-run-*")


def console() -> Console:
    """Standard output without line breaks; plain text unless it is a terminal, also in a notebook.

    Brackets in a path are not markup, and paths get no colours.
    """
    in_notebook = Console().is_jupyter  # there, standard output claims to be a terminal
    plain = False if in_notebook else None
    return Console(soft_wrap=True, markup=False, highlight=False, force_jupyter=False, force_terminal=plain)
