"""Requests to stop a run: Ctrl-C, a signal, or the end of the process that reads the output."""

import errno
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, TextIO

# Ctrl-C, `kill`, the end of a terminal, and SLURM's signal before the time limit of a job.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows does not have the last two
GONE = (errno.EPIPE, errno.EIO)  # the errors of writing to a closed pipe or terminal


class StopRequest:
    """Records that this process was asked to stop. As a context manager it handles signals and closed pipes.

    Training checks `asked` after each step. Inside `at_once` a request raises KeyboardInterrupt immediately, and so
    does a second Ctrl-C anywhere. At the end of the context the previous signal handlers are restored. Contexts may
    be nested; only the outermost one has an effect.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._depth = 0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}
        self._streams: list[tuple[str, TextIO, TextIO]] = []
        self._wake: int | None = None  # closing it ends the thread that watches the readers of the output

    def __enter__(self) -> "StopRequest":
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():  # the only one that may
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
            self.handle_signals()
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                guarded: Any = _Guarded(stream, self)
                self._streams.append((name, stream, guarded))
                setattr(sys, name, guarded)
            self._watch_readers()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth:
            return
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for name, stream, guarded in self._streams:
            if getattr(sys, name) is guarded:
                setattr(sys, name, stream)
        self._before, self._streams = {}, []
        if self._wake is not None:
            os.close(self._wake)
            self._wake = None

    def handle_signals(self) -> None:
        """Install the signal handlers, again if Lightning has installed its own in the meantime."""
        for number, before in self._before.items():
            if before is not signal.SIG_IGN or number == signal.SIGINT:  # nohup ignores the terminal's end
                signal.signal(number, self._on_signal)

    def _watch_readers(self) -> None:
        """In a thread, wait for the end of the process that reads the output. Writing alone would notice it late."""
        pipes = [number for number in (1, 2) if _is_pipe(number)]
        if not pipes or not hasattr(select, "poll"):
            return
        woken, self._wake = os.pipe()
        poll = select.poll()
        poll.register(woken, 0)
        for number in pipes:
            poll.register(number, 0)  # reports only that the other end is closed

        def wait() -> None:
            ended = [number for number, _ in poll.poll()]
            if woken not in ended:
                os.kill(os.getpid(), signal.SIGTERM)
            os.close(woken)

        threading.Thread(target=wait, daemon=True).start()

    def request(self) -> None:
        """Ask this process to stop."""
        first, self.asked = not self.asked, True
        if self._at_once:
            self._at_once = False
            raise KeyboardInterrupt
        if first and os.environ.get("LOCAL_RANK", "0") == "0":
            with suppress(OSError):  # not print, which the signal may have interrupted
                os.write(2, b"Stopping after this step; the checkpoint is being written.\n")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block, stop immediately and not after the step: for work whose result may be lost.

        Raises:
            KeyboardInterrupt: this process is asked to stop, or was before.
        """
        if self.asked:
            raise KeyboardInterrupt
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a child process that inherited this handler ends as usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.request()


def _is_pipe(number: int) -> bool:
    """Whether a file descriptor is open and a pipe."""
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False


class _Guarded:
    """An output stream that requests a stop, instead of raising an error, when nothing reads it any more.

    From then on standard output is written to standard error.
    """

    def __init__(self, stream: TextIO, stop: StopRequest) -> None:
        self._stream, self._stop = stream, stop
        self._redirected = False

    def write(self, text: str) -> int:
        self._unless_gone(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._unless_gone(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _unless_gone(self, act: Any) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in GONE:
                raise
            self._redirect()
            self._stop.request()

    def _redirect(self) -> None:
        """Point the file descriptor elsewhere, so that later writes and the exit do not fail."""
        number = self._stream.fileno()
        if number == 1 and not self._redirected:
            os.dup2(2, 1)
        else:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
        self._redirected = True
