"""Start one worker process for each device of this node.

The parent has composed and checked the config and written it to the run directory. Each worker reads the run
directory and nothing else (`python -m lightning_gen.training.worker RUN`), so single runs, multirun and sweeps behave
alike. Under torchrun or srun the processes exist already, and nothing is started here.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lightning_gen.errors import INTERRUPTED, WAITED
from lightning_gen.interruption import SIGNALS

PARENT = "LIGHTNING_GEN_PARENT"
GRACE = 10.0  # seconds that the other workers have to end after one has failed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def worker_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """The variables that Lightning reads, and an equal share of the CPU cores."""
    threads = str(max((os.cpu_count() or 1) // count, 1))
    # In a job of SLURM with one task, Lightning would take the number of tasks for that of the processes. This name
    # tells it not to.
    task = {"SLURM_JOB_NAME": "interactive"} if "SLURM_NTASKS" in os.environ else {}
    return {
        **os.environ,
        **task,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
        PARENT: str(os.getpid()),
    }


def start_worker(run_dir: Path, environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "lightning_gen.training.worker", str(run_dir)], env=environment)


def launch(run_dir: Path, count: int, timeout: float) -> int:
    """Run `count` workers on the run directory; returns the exit code of the first that failed, or 0.

    If one fails, the others are stopped. One that has died, or does not answer the others for `timeout` seconds, is
    named on standard error. Signals that ask to stop are passed on to the workers; Ctrl-C reaches them by itself.
    """
    port = free_port()
    workers = [start_worker(run_dir, worker_environment(rank, count, port)) for rank in range(count)]

    def forward(number: int, frame: Any) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.signal(number, forward) for number in SIGNALS if number != signal.SIGINT}
        handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        codes = _wait(workers)
        lost = _lost(codes, timeout)
        if lost:
            print(f"error: {lost} The run has ended.", file=sys.stderr)
        return _code_of(codes)
    finally:
        for worker in workers:
            worker.kill()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(workers: list[subprocess.Popen]) -> list[int | None]:
    """The exit codes of the workers when all have ended, or a while after one has failed; None: still running."""
    until = math.inf
    while True:
        codes = [worker.poll() for worker in workers]
        if None not in codes or time.monotonic() > until:
            return codes
        if any(code not in (None, 0, INTERRUPTED) for code in codes) and until == math.inf:
            until = time.monotonic() + GRACE  # the others may fail for the same reason and report it
        time.sleep(0.1)


def _lost(codes: list[int | None], timeout: float) -> str:
    """Which process has died or did not answer, in a sentence; empty if none has."""
    if any(code in (INTERRUPTED, 1, 2) for code in codes):
        return ""  # it has said itself why it ended
    for rank, code in enumerate(codes):
        if code is not None and code < 0 and -code != signal.SIGABRT:
            return f"Process {rank} of {len(codes)} was killed by {signal.Signals(-code).name}."
    silent = [str(rank) for rank, code in enumerate(codes) if code is None]
    if not silent:
        return "" if WAITED not in codes else "The processes have lost the connection to each other."
    named = f"Process {silent[0]}" if len(silent) == 1 else f"Processes {', '.join(silent)}"
    return f"{named} of {len(codes)} did not answer for {timeout:g} seconds (trainer.process_timeout)."


def _code_of(codes: list[int | None]) -> int:
    """The exit code of the run: that of an interruption, of a worker that has said why it failed, 1, or 0."""
    ended = [code for code in codes if code]
    if INTERRUPTED in ended:
        return INTERRUPTED
    own = [code for code in ended if code > 0 and code != WAITED]
    return own[0] if own else int(bool(ended))
