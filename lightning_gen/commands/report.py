"""The command `lightning-gen report`: runs or a search as one HTML page."""

from collections.abc import Sequence
from pathlib import Path

from lightning_gen.commands.compare import readable
from lightning_gen.errors import UserError
from lightning_gen.files import shortest, write_atomically
from lightning_gen.report.page import grouped, page
from lightning_gen.report.search import board_of, groups_of, section
from lightning_gen.runs.comparison import expanded
from lightning_gen.search.leaderboard import trials_in


def write_report(paths: list[Path], out: Path) -> str:
    """Write the page of these runs, or of the runs in these folders, and return what to tell.

    Raises:
        UserError: there is no readable run, or the file cannot be written or is named as what it is not.
    """
    if out.suffix.lower() not in ("", ".html", ".htm"):
        raise UserError(f"-o {out}: the report is an HTML page: name a file that ends in .html.")
    html = page_of(paths)
    try:
        write_atomically(out, html)
    except OSError as error:
        raise UserError(f"Cannot write {out} ({error.strerror}): choose another file with -o.") from error
    return f"report   {shortest(out)} ({len(html) / 1e6:.1f} MB): open it in a browser"


def page_of(paths: Sequence[Path], metrics: Sequence[str] = ()) -> str:
    """The page of these runs; if they are in a folder, in order of what was searched for.

    Raises:
        UserError: there is no readable run.
    """
    folders = [path for path in paths if not (path / "config.yaml").exists()]
    runs = readable(trials_in(paths) if folders else expanded(paths))
    board = board_of(runs, metrics) if folders else None
    if board is None:
        return page(grouped(runs))
    return page(groups_of(board, runs), title=paths[0].resolve().name, search=section(board))
