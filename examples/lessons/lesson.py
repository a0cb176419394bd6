"""What all lessons share: the command line, the table of numbers beside the theory's, and where figures go.

A lesson is a script `NN_name.py` beside this file. Its `run(quick)` does the experiment and returns the numbers and
the figures, and its last line is `main(__file__, run)`:

    python examples/lessons/NN_name.py [--quick] [--out FOLDER]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure


class Number(NamedTuple):
    """One result of a lesson."""

    what: str  # in words, with the unit
    measured: float
    theory: float | None = None  # what it should be; None where theory gives no number


Result = tuple[list[Number], dict[str, Figure]]  # the numbers, and the figures by name


def table(numbers: list[Number]) -> str:
    """The numbers as lines of text: what it is, measured, and what theory says."""
    width = max(len(number.what) for number in numbers)
    lines = [f"{'':{width}}  measured    theory"]
    for what, measured, theory in numbers:
        lines.append(f"{what:{width}}  {measured:8.4g}  {'' if theory is None else f'{theory:8.4g}'}".rstrip())
    return "\n".join(lines)


def main(script: str, run: Callable[[bool], Result]) -> None:
    """Run a lesson from the command line: print its table, and save its figures as FOLDER/NN_name_FIGURE.png."""
    name = Path(script).stem
    parser = argparse.ArgumentParser(description=f"Lesson {name.replace('_', ' ')}.")
    parser.add_argument("--quick", action="store_true", help="a short form, whose numbers are rough")
    parser.add_argument("--out", type=Path, default=Path("runs/lessons"), help="where the figures go")
    arguments = parser.parse_args()
    numbers, figures = run(arguments.quick)
    print(table(numbers))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for title, figure in figures.items():
        path = arguments.out / f"{name}_{title}.png"
        figure.savefig(path, dpi=100)
        print(f"Saved {path}")
