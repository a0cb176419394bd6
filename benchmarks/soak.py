"""Memory, open files and threads during a long training that logs every step. For Linux.

python benchmarks/soak.py                                         50,000 steps of a small GAN
python benchmarks/soak.py --steps 200000 model=vae dataset=mnist

Prints a line for each tenth of the training, and the growth of memory in its second half.
"""

import argparse
import os
import tempfile
import threading
from pathlib import Path

from pytorch_lightning import Trainer

from lightning_gen.config.compose import compose
from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.steps import StepCallback
from lightning_gen.training.train import prepare, train

DEFAULTS = (
    "dataset=digits",
    "model=gan",
    "networks=mlp",
    "logger=csv",
    "hardware=cpu",
    "trainer.enable_progress_bar=false",
)


class Watch(StepCallback):
    """Records resident memory in MiB, open file descriptors and threads at each tenth of the training."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, int, int]] = []

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        if trainer.global_step % (trainer.max_steps // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            self.seen.append(
                (trainer.global_step, memory, len(os.listdir("/proc/self/fd")), threading.active_count())
            )
            print("{:>9,} {:>12.1f} {:>12} {:>9}".format(*self.seen[-1]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    often = max(given.steps // 20, 1)
    options = (
        *DEFAULTS,
        f"trainer.max_steps={given.steps}",
        "trainer.log_every_n_steps=1",
        f"evaluation.every_n_steps={often}",
        f"checkpoint.every_n_steps={often}",
        "evaluation.num_samples=200",
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", compose([*options, *given.overrides]))
        parts, watch = prepare(run), Watch()
        run.save()
        parts.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        print(f"{'step':>9} {'memory, MiB':>12} {'open files':>12} {'threads':>9}")
        train(run, parts)
        size = (run.path / "metrics.csv").stat().st_size / 2**20
    middle, last = watch.seen[len(watch.seen) // 2 - 1], watch.seen[-1]
    growth = (last[1] - middle[1]) / (last[0] - middle[0]) * 1e6
    print(f"metrics.csv: {size:.1f} MiB. Memory grew by {growth:.0f} MiB per million steps in the second half.")


if __name__ == "__main__":
    main()
