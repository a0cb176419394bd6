"""Calls in a thread of their own, so that training never waits for them and never fails with them."""

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning_gen.errors import one_line

MOST = 10_000  # calls that may wait; more than that wait only if the service does not answer


class Background:
    """Makes calls in the order in which they come, in one thread.

    After the first call that fails, or when `MOST` calls wait, the rest are dropped. Standard error says so once.

    Args:
        name: what the warning calls the service.
        timeout: the most seconds that `close` waits for one call.
        hint: what the warning says besides, such as where the record is.
    """

    def __init__(self, name: str, timeout: float, hint: str = "") -> None:
        self.name, self.timeout, self.hint = name, timeout, hint
        self.broken = False
        self._calls: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        self._begun = time.monotonic()  # when the present call began
        self._thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """Whether there was a call."""
        return self._thread is not None

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Make this call later; returns immediately."""
        if self.broken:
            return
        if self._calls.qsize() >= MOST:
            self._give_up("it does not answer")
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        self._calls.put(lambda: function(*arguments, **keywords))

    def close(self) -> None:
        """Wait until all calls are made, as long as none of them takes longer than `timeout`."""
        if self._thread is None:
            return
        self._calls.put(None)
        closed = time.monotonic()
        while self._thread.is_alive():
            begun = max(self._begun, closed)  # the thread may not have begun what came last
            left = begun + self.timeout - time.monotonic()
            if left <= 0:
                self._give_up(f"it has not answered for {self.timeout:g} seconds")
                return
            self._thread.join(min(left, 0.5))
        self._thread = None

    def _work(self) -> None:
        while (function := self._calls.get()) is not None:
            self._begun = time.monotonic()
            if self.broken:
                continue
            try:
                function()
            except BaseException as error:  # a service may raise anything; SystemExit would end only this thread
                self._give_up(one_line(error))

    def _give_up(self, reason: str) -> None:
        if not self.broken:
            self.broken = True
            print(f"warning: {self.name}: {reason}. Training goes on without it.{self.hint}", file=sys.stderr)
