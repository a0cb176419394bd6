"""Work on many images on all cores, with a progress bar."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

PART = 512  # images that a worker takes at a time
ALONE = 2 * PART  # up to this many images, starting workers is not worth it


def starts(entries: Sequence[Any]) -> range:
    """The index of the first entry of each part."""
    return range(0, len(entries), PART)


Call = tuple[Callable[..., list], tuple]


def in_parallel(calls: Iterable[Call], total: int, description: str) -> Iterator[list]:
    """The results of calls, in order, computed on all cores with a progress bar; each call handles PART images."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    if total <= ALONE:
        for function, arguments in calls:
            yield function(*arguments)
        return
    tasks = (delayed(function)(*arguments) for function, arguments in calls)
    with _progress(total, description) as advance:
        try:
            for result in Parallel(n_jobs=-1, return_as="generator")(tasks):
                advance(PART)
                yield result
        finally:
            get_reusable_executor().shutdown(wait=True)  # otherwise they stay for minutes, next to the training


@contextlib.contextmanager
def _progress(total: int, description: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"{description}: {total:,} images", file=sys.stderr, flush=True)
        yield lambda count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)
