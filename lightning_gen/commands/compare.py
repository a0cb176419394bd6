"""lightning-gen compare: the table of runs against metrics, for the terminal, as Markdown or as CSV."""

import csv
import sys
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from lightning_gen.commands.terminal import console
from lightning_gen.errors import UserError
from lightning_gen.files import shortest
from lightning_gen.runs.comparison import Column, Comparison, Row, comparison, expanded
from lightning_gen.runs.run import Run

BEST = "*"  # before the best value of a metric
MOST_COLUMNS = 6  # with more metrics the Markdown table is transposed
FEW = 4  # runs side by side in the terminal; more go down the side
WIDEST = 26  # characters of a column in the terminal


def compare_runs(paths: list[Path], csv_file: Path | None, markdown: bool) -> Comparison:
    """Read runs, print their table, and write it to `csv_file` if there is one.

    Raises:
        UserError: a path that is not a run, or nothing to compare.
    """
    table = comparison(readable(expanded(paths)))
    if csv_file is not None:
        write_csv(table, csv_file)
    if markdown:
        print(as_markdown(table))
    else:
        out = console()
        for part in as_tables(table, out.width):
            out.print(part)
            out.print()
        for note in table.notes:
            print(note)
    return table


def readable(paths: list[Path]) -> list[Run]:
    """The runs at these paths. Runs that cannot be read are left out with a warning, if there are others.

    Raises:
        UserError: none of them can be read.
    """
    runs, problems = [], []
    for path in paths:
        try:
            run = Run.load(path)
            run.read_summary()
            runs.append(run)
        except UserError as error:
            empty = path.is_dir() and not (path / "config.yaml").exists()
            problems.append(UserError(f"There are no runs in {path}.") if empty else error)
    if problems and not runs:
        raise problems[0]
    for problem in problems:
        print(f"warning: left out: {problem}", file=sys.stderr)
    return runs


def described(row: Row) -> tuple[str, str, str]:
    """The row's name, its run or its seeds, and its checkpoint."""
    if not row.runs:
        return row.name, "", ""
    runs = shortest(row.runs[0]) if len(row.runs) == 1 else f"seeds {', '.join(map(str, sorted(row.seeds)))}"
    return row.name, runs, row.checkpoint


def cells(table: Comparison, before: str, after: str, transposed: bool) -> list[list[str]]:
    """The cells as text, titles first, with `before` and `after` around best values."""

    def text(row: Row, column: Column) -> str:
        return f"{before}{row.cell(column)}{after}" if table.is_best(row, column) else row.cell(column)

    lines = [["model", "run", "checkpoint", *(table.headers[column] for column in table.columns)]]
    lines += [[*described(row), *(text(row, column) for column in table.columns)] for row in table.rows]
    return [list(line) for line in zip(*lines, strict=True)] if transposed else lines


def as_tables(table: Comparison, width: int) -> list[Table]:
    """Tables of at most `width` characters: the rows by number with what they are, then their metrics.

    Up to `FEW` rows stand side by side, with the metrics down the side. More rows go down the side, and the metrics
    are spread over as many tables as they need. The best values are bold, with a star.
    """
    titles, *lines = cells(table, BEST, "", transposed=False)
    numbers = [str(number) for number in range(1, len(lines) + 1)]
    made = [
        _table([[number, ", ".join(filter(None, line[:3]))] for number, line in zip(numbers, lines, strict=True)])
    ]
    metrics = [[line[3:][index] for line in lines] for index in range(len(titles) - 3)]
    headers = titles[3:]
    if len(lines) <= FEW:
        made.append(_table([["", *numbers], *([h, *values] for h, values in zip(headers, metrics, strict=True))]))
        return made
    shown: list[list[str]] = [["", *numbers]]
    used = first = max(map(len, numbers))
    for header, values in zip(headers, metrics, strict=True):
        wide = max(max(map(len, values)), min(len(header), WIDEST)) + 2
        if used + wide > width and len(shown) > 1:
            made.append(_table([list(row) for row in zip(*shown, strict=True)]))
            shown, used = [["", *numbers]], first
        shown.append([header, *values])
        used += wide
    made.append(_table([list(row) for row in zip(*shown, strict=True)]))
    return made


def _table(lines: list[list[str]]) -> Table:
    """A table of these lines, the first cell of each whole; best values are bold."""
    made = Table(show_edge=False, show_header=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for index in range(len(lines[0])):
        whole = index == 0 or len(lines[0]) == 2
        made.add_column(overflow="fold", no_wrap=index == 0, max_width=None if whole else WIDEST)
    for line in lines:
        made.add_row(*(Text(text, style="bold" if text.startswith(BEST) else "") for text in line))
    return made


def as_markdown(table: Comparison) -> str:
    """A Markdown table; the best values are bold."""
    titles, *lines = cells(table, "**", "**", transposed=len(table.columns) > MOST_COLUMNS)
    rows = [titles, ["---"] * len(titles), *lines]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + [f"\n{note}" for note in table.notes])


def write_csv(table: Comparison, path: Path) -> None:
    """Write three columns for each metric: mean, standard deviation over seeds, and whether it is the best.

    Raises:
        UserError: the file cannot be written.
    """
    head = ["model", "run", "checkpoint", "runs"]
    for column in table.columns:
        head += [table.headers[column], f"{table.headers[column]} std", f"{table.headers[column]} best"]
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for row in table.rows:
                values: list[Any] = [*described(row), len(row.runs)]
                for column in table.columns:
                    values += [row.mean(column), row.std(column), table.is_best(row, column)]
                writer.writerow(values)
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror}): choose another file with --csv.") from error
