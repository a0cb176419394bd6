"""Which process works on a trial, and whether it is still alive."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """The host, number and start of this process: unique, although numbers are used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def is_orphan(worker: str) -> bool:
    """Whether a process of this machine has ended. Of processes on other machines nothing is known."""
    host, number, started = worker.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # alive, and another user's
        return False
    return _started(int(number)) != started


def _started(number: int) -> str:
    """When a process started, in ticks since the machine did; empty where the system does not say."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""
