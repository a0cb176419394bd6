"""Work on many images on all cores, with a progress bar."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lightning_gen.progress import progress

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
    with progress(total, description) as advance:
        try:
            results = Parallel(n_jobs=-1, return_as="generator")(tasks)
            for index, result in enumerate(results):
                advance(min(PART, total - index * PART))  # the last part is smaller
                yield result
        finally:
            get_reusable_executor().shutdown(wait=True)  # otherwise they stay for minutes, next to the training
