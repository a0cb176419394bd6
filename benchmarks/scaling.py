"""Milliseconds of a training step against the batch, the pixels, the width of the networks and the processes.

python benchmarks/scaling.py                  a VAE with networks=conv on the digits
python benchmarks/scaling.py model=gan        another model

Each line is a run of its own in which one number differs from the first line: wall and CPU time of the first process
from step 5 to step 25, without the start and without evaluations. One thread for torch in each process.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

ROOT = Path(__file__).parents[1]
FIRST, LAST = 5, 25
BASE = {"dataset.batch_size": 64, "dataset.size": 32, "width": 32, "trainer.devices": 1}
VALUES = {
    "dataset.batch_size": (16, 256),
    "dataset.size": (16, 64),
    "width": (16, 64),
    "trainer.devices": (2,),
}


class StepTimer(Callback):
    """Prints the wall and CPU milliseconds of a step of the first process."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        now = time.perf_counter(), time.process_time()
        if trainer.global_step == FIRST:
            self.start = now
        elif trainer.global_step == LAST and trainer.is_global_zero:
            wall, cpu = (1000 * (b - a) / (LAST - FIRST) for a, b in zip(self.start, now, strict=True))
            print(f"TIMED {wall:.1f} {cpu:.1f}", flush=True)


def measure(point: dict[str, int], overrides: list[str]) -> tuple[float, float]:
    """Wall and CPU milliseconds of a step."""
    keys = {key: value for key, value in point.items() if key != "width"}
    keys |= {f"networks.{side}.width": point["width"] for side in ("encoder", "decoder")}
    with tempfile.TemporaryDirectory() as folder:
        options = [*(f"{key}={value}" for key, value in keys.items()), f"trainer.max_steps={LAST}", *overrides]
        options += ["logger=csv", "hardware=cpu", "evaluation.num_samples=100", "evaluation.nll.k=0"]
        options += ["+callbacks.timer={_target_: scaling.StepTimer}", f"hydra.run.dir={folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"}
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *options], env=environment, capture_output=True, text=True
        )
    timed = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("TIMED")]
    if not timed:
        sys.exit(done.stderr)
    wall, cpu = timed[0]
    return float(wall), float(cpu)


def main(overrides: list[str]) -> None:
    base = measure(BASE, overrides)
    print(f"{BASE}: wall {base[0]:.1f} ms, CPU {base[1]:.1f} ms a step", flush=True)
    for key, values in VALUES.items():
        for value in values:
            wall, cpu = measure({**BASE, key: value}, overrides)
            ratios = f"wall {wall:7.1f} ({wall / base[0]:.2f} x)   CPU {cpu:7.1f} ({cpu / base[1]:.2f} x)"
            print(f"  {key}={value:<5} {ratios}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["model=vae", "model/likelihood=gaussian", "networks=conv", "dataset=digits"])
