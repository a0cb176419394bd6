"""The command `lightning-gen watch`: the page of a run, served on this machine and refreshed while it trains."""

import contextlib
import time
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from lightning_gen.errors import UserError
from lightning_gen.report.page import grouped, page
from lightning_gen.runs.run import Run

ADDRESS = "127.0.0.1"  # the loopback address: other machines cannot reach it
WATCHED = ("summary.json", "metrics.csv")


class LivePage:
    """The page of a run, made again at most every so many seconds, and only if the run has changed."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._lock, self._made, self._html = Lock(), -seconds, ""
        self._state: str | None = None  # that of `_html`

    def state(self) -> str:
        """What identifies the present state of the run; the last one while the page is younger than `seconds`."""
        if self._state and time.monotonic() - self._made < self.seconds:
            return self._state
        stats = [(self.path / name).stat() for name in WATCHED if (self.path / name).exists()]
        return "-".join(f"{stat.st_mtime_ns}.{stat.st_size}" for stat in stats)

    def html(self) -> str:
        """The page in this state."""
        with self._lock:
            state = self.state()
            if state != self._state:
                run = Run.load(self.path)
                live = state if run.read_summary().get("status") == "running" else ""
                self._html, self._state, self._made = page(grouped([run]), live=live), state, time.monotonic()
            return self._html


class Handler(BaseHTTPRequestHandler):
    """Answers `/` with the page and `/state` with its state."""

    def __init__(self, live: LivePage, *arguments: object) -> None:
        self.live = live
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]  # without the port
        if host not in (ADDRESS, "localhost"):  # a page from elsewhere that has taken this machine's address
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/state":
            self._answer(self.live.state(), "text/plain")
        elif self.path == "/":
            try:
                self._answer(self.live.html(), "text/html")
            except (UserError, OSError) as error:  # the run has been deleted, or is just being written
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, text: str, kind: str) -> None:
        content = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        with contextlib.suppress(ConnectionError):  # the window has been closed
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing for each request."""


def server_of(run_dir: Path, port: int, seconds: float = 10) -> ThreadingHTTPServer:
    """A server of the page of a run; port 0: any that is free.

    Raises:
        UserError: there is no such run, or the port is taken.
    """
    Run.load(run_dir)
    live = LivePage(run_dir.resolve(), seconds)
    try:
        return ThreadingHTTPServer((ADDRESS, port), partial(Handler, live))
    except OSError as error:
        raise UserError(f"Port {port} cannot be used ({error.strerror}): choose another with --port.") from error


def watch(run_dir: Path, port: int) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: there is no such run, or the port is taken.
    """
    server = server_of(run_dir, port)
    print(f"watch  http://{ADDRESS}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
