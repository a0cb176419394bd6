"""How long a command takes to start, beside importing its libraries, measured in the same run.

python benchmarks/startup.py                                 --help, a misspelt override, the first step
python benchmarks/startup.py --rounds 5 model=ae dataset=mnist    the first step of another run

Every line is a process of its own, one after the other, and the median of the rounds counts. CPU time is what this
process and its children used, whatever else the machine does; one thread for torch. The run writes to a temporary
folder; the cache of statistics of real images is empty in its first round (`cold`) and full in the others.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = {"import torch": "import torch", "import of all": "import torch, torchvision, pytorch_lightning"}
COMMANDS = {
    "train.py --help": ["train.py", "--help"],
    "train.py modle=gan": ["train.py", "modle=gan"],
    "lightning-gen --help": ["-m", "lightning_gen", "--help"],
}
# Runs train.py and ends the process after the first step, which no command does by itself.
FIRST_STEP = """
import os
from lightning_gen.commands.train import main
from lightning_gen.training.callbacks.interruption import Interruption
Interruption.on_train_batch_end = lambda *_: os._exit(0)
main()
"""


def run(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of one process with these arguments of the interpreter."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def median(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    cpu, wall = zip(*rounds, strict=True)
    return statistics.median(cpu), statistics.median(wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of the run whose first step is timed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one_thread = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "LIGHTNING_GEN_CACHE": f"{folder}/cache"}
        environment = {**os.environ, **one_thread}
        first_step = ["-c", FIRST_STEP, *options.overrides, f"hydra.run.dir={folder}/run"]
        jobs = {name: ["-c", code] for name, code in LIBRARIES.items()} | COMMANDS
        cold = run(first_step, environment)
        jobs["first step"] = first_step
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for _ in range(options.rounds):
            for name, arguments in jobs.items():
                rounds[name].append(run(arguments, environment))
    found = {name: median(times) for name, times in rounds.items()} | {"first step, cold": cold}
    print(f"{'':<22}{'CPU s':>8}{'wall s':>8}{'CPU, of import':>24}")
    for name, (cpu, wall) in found.items():
        of = "import of all" if name.startswith("first") else "import torch"
        ratio = "" if name in LIBRARIES else f"{cpu / found[of][0]:.2f} x {of}"
        print(f"{name:<22}{cpu:8.2f}{wall:8.2f}{ratio:>24}")


if __name__ == "__main__":
    main()
