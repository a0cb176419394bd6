"""Reads a lesson of examples/lessons/ and runs its short form."""

import runpy
import sys
from pathlib import Path

from matplotlib.figure import Figure

LESSONS = Path(__file__).parents[2] / "examples" / "lessons"


def run_quickly(name: str) -> tuple[dict[str, tuple[float, float | None]], dict[str, Figure]]:
    """The numbers of the short form of lesson `name`, {what: (measured, theory)}, and its figures."""
    sys.path.insert(0, str(LESSONS))
    try:
        numbers, figures = runpy.run_path(str(LESSONS / f"{name}.py"))["run"](True)
    finally:
        sys.path.remove(str(LESSONS))
    return {number.what: (number.measured, number.theory) for number in numbers}, figures
