"""How far a long piece of work is, on standard error: a bar in a terminal, otherwise a line now and then."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

EVERY = 30.0  # seconds between two lines


@contextlib.contextmanager
def progress(total: int, description: str, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show progress inside the block, with the time left; yields a function that adds to what is done.

    Args:
        total: how much there is to do.
        description: what is done, such as `decoding data/`.
        unit: what is counted.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"{description}: {total:,} {unit}", file=sys.stderr, flush=True)
        yield Lines(total, description, unit).advance
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


class Lines:
    """Progress as lines on standard error, one every EVERY seconds; short work prints none."""

    def __init__(self, total: int, description: str, unit: str) -> None:
        self.total, self.description, self.unit, self.done = total, description, unit, 0
        self.start = self.said = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said >= EVERY and self.done < self.total:
            left = (now - self.start) / self.done * (self.total - self.done)
            text = f"{self.description}: {self.done:,} of {self.total:,} {self.unit}, {duration(left)} left"
            print(text, file=sys.stderr, flush=True)
            self.said = now


def duration(seconds: float) -> str:
    """A time in words, rounded: `40 s`, `3 min`, `5 h`, `12 days`, `3,000 years`."""
    for size, name in ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} s"
