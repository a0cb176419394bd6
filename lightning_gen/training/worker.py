"""A worker process, one of several: trains the run directory that it is given."""

import os
import sys
import threading
import time

from lightning_gen.distributed import has_lost_process
from lightning_gen.errors import INTERRUPTED, WAITED, UserError
from lightning_gen.training.launch import PARENT


def _follow_parent() -> None:
    """End this worker when its parent has ended, however that happened."""
    parent = int(os.environ[PARENT])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def worker_main(run_dir: str) -> int:
    """Train as one of several processes; returns the exit code."""
    from lightning_gen.errors import quiet_libraries
    from lightning_gen.runs.run import Run
    from lightning_gen.training.train import train

    _follow_parent()
    quiet_libraries()
    try:
        summary = train(Run.load(run_dir, own=True))
    except UserError as error:
        if os.environ["LOCAL_RANK"] == "0":
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except RuntimeError as error:
        if not has_lost_process(error):
            raise
        return WAITED  # the parent knows which one
    return INTERRUPTED if summary["status"] == "interrupted" else 0


if __name__ == "__main__":
    code = worker_main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
