"""Training on one GPU: steps and real images a second, and the share of the GPU's peak, with each of its options.

python benchmarks/gpu.py                                     all jobs
python benchmarks/gpu.py --jobs iwae --options plain graphs --seconds 5

Each job trains a model as `python train.py` does, with its callbacks and its log, on random images of the data
set's size: only time is measured. `plain` are the defaults: float32 with TF32 products. A step's operations are
those of its products and convolutions, as counted by PyTorch, which cannot count those of a gradient penalty. The
peak is that of a product of two matrices of 8192 x 8192 in bfloat16, measured at the start.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_gen.config.compose import compose
from lightning_gen.data.loader import Streams
from lightning_gen.errors import quiet_libraries
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare


class Job(NamedTuple):
    """What is trained."""

    overrides: tuple[str, ...]
    image: tuple[int, int, int]
    count: int  # training images
    real: int  # real images in a step
    penalized: bool = False  # has a gradient penalty


GRAPHS, BF16, COMPILE = "trainer.cuda_graphs=true", "trainer.precision=bf16-mixed", "trainer.compile=true"
LAST = "trainer.channels_last=true"
OPTIONS = {
    "plain": (),
    "graphs": (GRAPHS,),
    "bf16": (BF16,),
    "bf16, channels last": (BF16, LAST),
    "bf16, channels last, graphs": (BF16, LAST, GRAPHS),
    "bf16, channels last, graphs, compiled": (BF16, LAST, GRAPHS, COMPILE),
}
JOBS = {
    "iwae": Job(("experiment=vae_mnist_iwae2016", "trainer.log_every_n_steps=1000"), (1, 28, 28), 60_000, 20),
    "mnist_gan": Job(("model=gan",), (1, 28, 28), 60_000, 64, penalized=True),
    "sngan_cnn": Job(("experiment=sngan_cnn_cifar10",), (3, 32, 32), 50_000, 128),
    "sngan": Job(("experiment=sngan_cifar10",), (3, 32, 32), 50_000, 320),
}


FIXED = (
    "logger=csv",
    "report=false",
    "trainer.enable_progress_bar=false",
    "dataset=arrays",
    "trainer.max_steps=100000000",
    "evaluation.every_n_steps=100000000",
    "checkpoint.every_n_steps=100000000",
    "evaluation.metrics=[fid]",
    "evaluation.num_samples=100",
    "evaluation.num_reference=100",
    "evaluation.nll.k=0",
    "evaluation.projection=null",
)


class Done(Exception):
    """Ends the training."""


class Timed:
    """A stream of training batches that measures the steps after the first `warm_up` seconds, for some seconds.

    With a `counter` it ends after one step, whose operations are counted.
    """

    def __init__(self, loader: Any, warm_up: float, seconds: float, counter: FlopCounterMode | None) -> None:
        self.loader, self.warm_up, self.seconds, self.counter = loader, warm_up, seconds, counter
        self.rate = 0.0  # steps a second

    def streams(self) -> Streams:
        return Streams(self)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        began, first, start = time.perf_counter(), 0, 0.0
        for count, batch in enumerate(self.loader):
            if self.counter:
                with self.counter:
                    yield batch
                raise Done
            if count and count % 50 == 0:
                torch.cuda.synchronize()
                now = time.perf_counter()
                if not first and now - began > self.warm_up:
                    first, start = count, now
                elif first and now - start > self.seconds:
                    self.rate = (count - first) / (now - start)
                    raise Done
            yield batch


def train(
    job: Job, options: tuple[str, ...], warm_up: float, seconds: float, counter: FlopCounterMode | None = None
) -> float:
    """Train for some seconds; returns steps a second."""
    rng = np.random.default_rng(0)
    channels, height, width = job.image
    timed: list[Timed] = []
    with tempfile.TemporaryDirectory() as folder:
        images = rng.integers(0, 256, (job.count + 1000, height, width, channels), dtype=np.uint8)
        np.savez(Path(folder) / "random.npz", images=images[:-1000], test_images=images[-1000:])
        run = Run.create(
            Path(folder) / "run", compose([*job.overrides, *FIXED, *options, f"dataset.path={folder}/random.npz"])
        )
        run.save()
        parts = prepare(run)
        make = parts.data.train_loader

        def train_loader(*args: Any, **options: Any) -> Any:
            timed.append(Timed(make(*args, **options), warm_up, seconds, counter))
            return timed[-1]

        parts.data.train_loader = train_loader  # type: ignore[method-assign]
        with suppress(Done):
            parts.trainer.fit(parts.model, datamodule=parts.data)
    return timed[-1].rate


def operations(job: Job) -> float:
    """Floating-point operations of the matrix products and convolutions of a step; NaN with a gradient penalty."""
    if job.penalized:
        return math.nan
    counter = FlopCounterMode(display=False)
    train(job, (), 0, 0, counter)
    return float(counter.get_total_flops())


def share(part: float) -> str:
    """A share of the peak, or nothing where the operations cannot be counted."""
    return "" if math.isnan(part) else f"{part:.1%}"


def peak() -> float:
    """Operations a second of a matrix product in bfloat16."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--seconds", type=float, default=3.0, help="that are measured of each")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before, in which graphs are recorded")
    arguments = parser.parse_args()
    quiet_libraries()
    best = peak()
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, bfloat16 peak {best / 1e12:.0f} TFLOP/s\n")
    print("| job | options | steps a second | real images a second | share of the peak |")
    print("|---|---|---:|---:|---:|")
    for name in arguments.jobs:
        job = JOBS[name]
        flops = operations(job)
        for option in arguments.options:
            rate = train(job, OPTIONS[option], arguments.warm_up, arguments.seconds)
            print(
                f"| {name} | {option} | {rate:,.0f} | {rate * job.real:,.0f} | {share(rate * flops / best)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
