"""How far a long piece of work is, on standard error: a bar in a terminal, otherwise a line.

Work that ends within DELAY seconds is not shown. Several pieces may be inside each other, as an evaluation inside a
training; in a terminal each has a bar of its own, which goes when it ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lightning_gen.distributed import rank_and_world, rank_from_environment

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

DELAY = 2.0  # seconds before work is shown
EVERY = 60.0  # seconds between two lines
WIDE = 100  # columns of a terminal that has room for all

_bars: list[Progress] = []  # the display of the terminal, which has one at a time
_lock = threading.Lock()  # phases show themselves from threads of their own


@contextlib.contextmanager
def progress(total: int | None, description: str, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show progress inside the block, with the time left; yields a function that adds to what is done.

    Args:
        total: how much there is to do; None: not known, so only that it goes on is shown.
        description: what is done, such as `decoding data/`.
        unit: what is counted.
    """
    phase = Phase(total, description, unit)
    try:
        yield phase.advance
    finally:
        phase.end()


class Phase:
    """A piece of work that shows itself when it has lasted DELAY seconds."""

    def __init__(self, total: int | None, description: str, unit: str) -> None:
        self.total, self.description, self.unit, self.done = total, description, unit, 0
        self.start = self.said = time.monotonic()
        self._close: Callable[[], object] | None = None
        self._move: Callable[[int], object] | None = None
        self._ended = not is_first()
        self._timer = threading.Timer(DELAY, self._show)
        self._timer.daemon = True
        if not self._ended:
            self._timer.start()

    def advance(self, count: int) -> None:
        """Add to what is done."""
        self.done += count
        if self._move is not None:
            self._move(self.done)

    def end(self) -> None:
        """Take the bar away."""
        self._timer.cancel()
        with _lock:
            self._ended = True
            if self._close is not None:
                self._close()

    def _show(self) -> None:
        with _lock:
            if self._ended:
                return
            console = terminal()
            if console is not None:
                self._show_bar(console)
            else:
                self._say()
                self._move = self._say_sometimes

    def _show_bar(self, console: Console) -> None:
        if not _bars:
            _bars.append(bars(console, transient=True))
            _bars[0].start()
        display = _bars[0]
        fields: dict[str, Any] = {"unit": self.unit, "text": "", "begun": self.start, "at_first": 0}
        task = display.add_task(self.description, total=self.total, completed=self.done, **fields)
        self._move = lambda done: display.update(task, completed=done)

        def close() -> None:
            display.remove_task(task)
            if not display.tasks:
                _bars.remove(display)
                display.stop()

        self._close = close

    def _say_sometimes(self, done: int) -> None:
        if time.monotonic() - self.said >= EVERY and (self.total is None or done < self.total):
            self._say()

    def _say(self) -> None:
        self.said = time.monotonic()
        print(f"{self.description}{self._how_far()}", file=sys.stderr, flush=True)

    def _how_far(self) -> str:
        if self.total is None:
            return " ..."
        if not self.done:
            return f": {self.total:,} {self.unit} ..."
        left = (time.monotonic() - self.start) / self.done * (self.total - self.done)
        return f": {self.done:,} of {self.total:,} {self.unit}, {duration(left)} left"


class Bar:
    """A bar in the terminal that stays when it is full; other work is shown below it.

    Raises:
        ValueError: standard error is not a terminal.
    """

    def __init__(self, total: int, done: int, description: str, unit: str) -> None:
        console = terminal()
        if console is None:
            raise ValueError("there is no terminal to show a bar in")
        self._display = bars(console)
        self.wide = console.width >= WIDE
        begun = {"begun": time.monotonic(), "at_first": done}
        fields: dict[str, Any] = {"unit": unit if self.wide else "", "text": "", **begun}
        self._task = self._display.add_task(description, total=total, completed=done, **fields)
        self._display.start()
        with _lock:
            _bars.append(self._display)

    def update(self, done: int, description: str, text: str) -> None:
        """Show what is done, and a text at the end of the bar."""
        self._display.update(self._task, completed=done, description=description, text=text)

    def stop(self) -> None:
        """Leave the bar as it is."""
        with _lock:
            _bars.remove(self._display)
        self._display.stop()


def is_first() -> bool:
    """Whether this is the first of the processes of a run, which speaks for all."""
    if "torch" in sys.modules and rank_and_world()[0] > 0:
        return False
    return rank_from_environment()[0] == 0 and os.environ.get("LOCAL_RANK", "0") == "0"


def terminal() -> Console | None:
    """Standard error if it is a terminal; what is printed there is neither coloured nor broken into lines."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    return console if console.is_terminal else None


def bars(console: Console, transient: bool = False) -> Progress:
    """A display of tasks: what each is, a bar, what is done of how much, the time left, and a text.

    Where there is too little room, the text is cut off. Standard output goes to the terminal through the display, or
    stays a file.
    """
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Words(ProgressColumn):
        max_refresh = 0.2

        def __init__(self, words: Callable[[Task], str], cut: bool = False) -> None:
            super().__init__(table_column=Column(no_wrap=not cut))
            self.words = words

        def render(self, task: Task) -> Text:
            return Text(self.words(task), no_wrap=True, overflow="ellipsis")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(12 if console.width >= WIDE else 6),
        Words(count),
        Words(time_left),
        Words(lambda task: task.fields["text"], cut=True),
    )
    options: dict[str, Any] = {"transient": transient, "redirect_stdout": sys.stdout.isatty()}
    return Progress(*columns, console=console, refresh_per_second=5, **options)


def count(task: Task) -> str:
    """What is done of how much."""
    unit = task.fields["unit"]
    return "" if task.total is None else f"{int(task.completed):,}/{int(task.total):,}{unit and ' '}{unit}"


def time_left(task: Task) -> str:
    """The time that a task needs until its end, or has taken, in words."""
    if task.finished:
        return f"in {duration(task.finished_time or 0)}"
    passed, done = time.monotonic() - task.fields["begun"], task.completed - task.fields["at_first"]
    if task.total is None or done <= 0:
        return f"{duration(passed)} so far"
    return f"{duration(passed / done * (task.total - task.completed))} left"


def duration(seconds: float) -> str:
    """A time in words, rounded: `40 s`, `3 min`, `5 h`, `12 days`, `3,000 years`."""
    for size, name in ((365 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} s"
