"""What a run leaves for people to look at when it has ended: report.html, and its line in runs/index.html."""

import sys

from lightning_gen.errors import one_line
from lightning_gen.runs.run import COMPLETE, Run, runs_root

FINISHED = (*COMPLETE, "pruned")


def finish(run: Run, status: str) -> None:
    """Write the run's report.html, unless `report=false`, and the list of all runs. A run never fails by this."""
    try:
        if run.config.get("report", True) and status in FINISHED:
            write_report(run)
    except Exception as error:  # a full disk, a damaged record
        print(f"note: no page of this run: {one_line(error)}", file=sys.stderr)
    try:
        root = runs_root(run.path)
        if root is not None:
            from lightning_gen.report.index import write_index

            write_index(root)
    except Exception as error:  # a full disk, a file system without locks
        print(f"note: runs/index.html is not up to date: {one_line(error)}", file=sys.stderr)


def write_report(run: Run) -> None:
    from lightning_gen.files import write_atomically
    from lightning_gen.report.page import grouped, page  # imports Bokeh, which training does not need

    write_atomically(run.path / "report.html", page(grouped([run])))
