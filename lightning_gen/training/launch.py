"""One process for each device of this node.

The parent has composed and checked the config and written it to the run directory; each worker reads that and
nothing else (`python -m lightning_gen.training.worker RUN`). So single runs, multirun and sweeps behave alike: no
worker composes a config of its own. Under torchrun or srun the processes are there already, and nothing is launched.
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

PARENT = "LIGHTNING_GEN_PARENT"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def worker_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What Lightning's default environment reads, and a fair share of the cores."""
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
    """Run `count` workers on the run directory; the exit code of the first that failed, or 0.

    When one fails the others are stopped. SIGTERM is passed on, Ctrl-C reaches them by itself.
    """
    port = free_port()
    workers = [start_worker(run_dir, worker_environment(rank, count, port)) for rank in range(count)]

    def forward(number: int, frame: Any) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
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
            time.sleep(2.0)  # the others may fail of the same cause, and say so
            return failed
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.1)
