"""Start one worker process for each device of this node.

The parent has composed and checked the config and written it to the run directory. Each worker reads the run
directory and nothing else (`python -m lightning_gen.training.worker RUN`), so single runs, multirun and sweeps behave
alike. Under torchrun or srun the processes exist already, and nothing is started here.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lightning_gen.interruption import SIGNALS

PARENT = "LIGHTNING_GEN_PARENT"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def worker_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """The variables that Lightning reads, and an equal share of the CPU cores."""
    threads = str(max((os.cpu_count() or 1) // count, 1))
    return {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
        PARENT: str(os.getpid()),
    }


def start_worker(run_dir: Path, environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "lightning_gen.training.worker", str(run_dir)], env=environment)


def launch(run_dir: Path, count: int) -> int:
    """Run `count` workers on the run directory; returns the exit code of the first that failed, or 0.

    If one fails, the others are stopped. Signals that ask to stop are passed on to the workers; Ctrl-C
    reaches them by itself.
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
        return _wait(workers)
    finally:
        for worker in workers:
            worker.kill()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(workers: list[subprocess.Popen]) -> int:
    while True:
        codes = [worker.poll() for worker in workers]
        failed = next((code for code in codes if code), None)
        if failed is not None:
            time.sleep(2.0)  # the others may fail for the same reason and report it
            return failed
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.1)
