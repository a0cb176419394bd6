"""The command `lightning-gen runs`: all runs in a folder."""

import sys
from pathlib import Path

from rich.table import Table

from lightning_gen.commands.terminal import console
from lightning_gen.errors import UserError
from lightning_gen.files import shortest
from lightning_gen.report.index import Entry, entries, run_directories, write_index


def list_runs(folder: Path) -> list[Entry]:
    """Print the runs below a folder, the newest first, and write its index.html.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name the one that holds your runs.")
    nothing = UserError(f"There are no runs in {folder}.")
    if next(run_directories(folder), None) is None:
        raise nothing  # and no index.html in a folder named by mistake
    written = True
    try:
        found = write_index(folder)
    except OSError as error:
        found, written = entries(folder), False
        print(f"note: no {folder / 'index.html'} ({error.strerror}).", file=sys.stderr)
    if not found:
        raise nothing
    out = console()
    out.print(as_table(found))
    if written:
        out.print(f"page  {shortest((folder / 'index.html').resolve())}")
    return found


def as_table(found: list[Entry]) -> Table:
    """A row for each run, within 80 characters unless its directory has a long name."""
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for title, justify in (("run", "left"), ("status", "left"), ("steps", "right"), ("best", "right"), ("", "left")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for entry in found:
        step = "" if entry.step is None else f"{entry.step:,}"
        best = "" if entry.best is None else f"{entry.best:.4g}"
        table.add_row(entry.path, entry.status, step, best, entry.metric if best else "")
    return table
