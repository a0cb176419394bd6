"""What a person sees: a table of metrics at the end, where things lie, and no noise from libraries."""

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_gen.run import Run


def quiet_libraries() -> None:
    """Silence what our users need not act on; their own warnings stay."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("WANDB_SILENT", "true")
    for message in (
        ".*does not have many workers.*",
        ".*`IterableDataset` has `__len__`.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*find_unused_parameters=True was specified.*",
        ".*defined a `validation_step`.*",
    ):
        warnings.filterwarnings("ignore", message=message)


def metrics_table(summary: dict[str, Any]) -> Table:
    """The metrics of the evaluation, each with how it was measured."""
    table = Table(show_edge=False, pad_edge=False, box=None)
    for column, justify in (("metric", "left"), ("value", "right"), ("protocol", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, value in summary["metrics"].items():
        if name.startswith("eval/"):
            table.add_row(name, f"{value:.4g}", describe(summary["protocol"].get(name, {})))
    return table


def describe(protocol: dict[str, Any]) -> str:
    """The protocol in a few words; summary.json has all of it."""
    if "n_fake" not in protocol:
        return f"{protocol['n_real']:,} {protocol['split']} images" if protocol else ""
    of = protocol["images"]
    averaged = " of the averaged weights" if protocol.get("ema") and of == "samples" else ""
    extractor = f", {protocol['extractor']}" if "extractor" in protocol else ""
    return (
        f"{protocol['n_fake']:,} {of}{averaged} against {protocol['n_real']:,} {protocol['split']} images{extractor}"
    )


def report(run: Run, summary: dict[str, Any]) -> None:
    """The end of a run: metrics, paths, and the command to look further."""
    console = Console(soft_wrap=True)
    where = shortest(run.path)
    if "metrics" in summary:
        console.print(metrics_table(summary))
    progress = summary.get("progress", {})
    console.print(
        f"{summary['status']}: {progress.get('step', 0):,} steps, {progress.get('images_seen', 0):,} images "
        f"in {progress.get('seconds', 0):.0f} s"
    )
    grids = sorted((run.path / "samples").glob("step_*.png"))
    console.print(f"run      {where}")
    if grids:
        console.print(f"samples  {shortest(grids[-1])}")
    if summary["status"] == "completed":
        console.print(f"next     lightning-gen sample {where} -n 64 -o samples")
    else:
        console.print(f"go on    python train.py resume={where}")
    if any((run.path / "wandb").glob("offline-run-*")):
        console.print(f"upload   wandb sync {where}/wandb/offline-run-*")


def shortest(path: Path) -> str:
    """The path relative to here if it lies below, else absolute."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
