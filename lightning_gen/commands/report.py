"""The command `lightning-gen report`: runs or a search as one HTML page."""

from pathlib import Path

from lightning_gen.commands.compare import readable
from lightning_gen.errors import UserError
from lightning_gen.files import shortest, write_atomically
from lightning_gen.report.page import grouped, page
from lightning_gen.runs.comparison import expanded


def write_report(paths: list[Path], out: Path) -> str:
    """Write the page of these runs, or of the runs in these folders, and return what to tell.

    Raises:
        UserError: there is no readable run, or the file cannot be written.
    """
    runs = readable(expanded(paths))
    html = page(grouped(runs))
    try:
        write_atomically(out, html)
    except OSError as error:
        raise UserError(f"Cannot write {out} ({error.strerror}): choose another file with -o.") from error
    return f"report   {shortest(out)} ({len(html) / 1e6:.1f} MB): open it in a browser"
