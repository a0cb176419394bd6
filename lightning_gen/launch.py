"""One process for each device of this node.

The parent has composed and checked the config and written it to the run directory; each worker reads that and
nothing else (`python -m lightning_gen.launch RUN`). So single runs, multirun and sweeps behave alike: no worker
composes a config of its own. Under torchrun or srun the processes are there already, and nothing is launched.
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

from lightning_gen.errors import UserError

PARENT = "LIGHTNING_GEN_PARENT"
INTERRUPTED = 130  # the exit code of a run that was asked to stop, as shells have it


def rank_from_environment() -> tuple[int, int]:
    """(global rank, processes) as torchrun or SLURM set them; (0, 1) in a process of its own."""
    if "WORLD_SIZE" in os.environ:
        return int(os.environ.get("RANK", 0)), int(os.environ["WORLD_SIZE"])
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(os.environ.get("SLURM_PROCID", 0)), int(os.environ["SLURM_NTASKS"])
    return 0, 1


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
    return subprocess.Popen([sys.executable, "-m", "lightning_gen.launch", str(run_dir)], env=environment)


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


def _follow_parent() -> None:
    """End this worker when its parent is gone, however that was killed."""
    parent = int(os.environ[PARENT])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def worker_main(run_dir: str) -> int:
    """Train as one of several processes."""
    from lightning_gen.run import Run
    from lightning_gen.terminal import quiet_libraries
    from lightning_gen.training import train

    _follow_parent()
    quiet_libraries()
    try:
        summary = train(Run.load(run_dir))
    except UserError as error:
        if os.environ["LOCAL_RANK"] == "0":
            print(f"error: {error}", file=sys.stderr)
        return 2
    return INTERRUPTED if summary["status"] == "interrupted" else 0


if __name__ == "__main__":
    code = worker_main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
