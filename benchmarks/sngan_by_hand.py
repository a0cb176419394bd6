"""SNGAN with plain convolutions, trained here and by a loop of plain PyTorch: are the curves equal?

python benchmarks/sngan_by_hand.py --steps 300 dataset=image_folder dataset.root=FOLDER dataset.size=32

Both sides train `experiment=sngan_cnn_cifar10` from the same initial weights, on the same batches and codes. The
loop below is what one would write by hand after Miyato et al. 2018: hinge loss, spectral norm in the discriminator,
Adam, a learning rate that falls linearly to 0. More arguments are overrides: narrower networks, other images.
"""

import argparse
import csv
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.config.compose import compose
from lightning_gen.errors import quiet_libraries
from lightning_gen.randomness import StepNoise, Stream, mix
from lightning_gen.runs.run import Run
from lightning_gen.training.train import Parts, prepare, train

NAMES = ("train/loss_discriminator", "train/loss_generator")
FIXED = (
    "logger=csv",
    "report=false",
    "hardware=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
)


class ByHand:
    """The plain loop, with copies of the networks of a prepared run."""

    def __init__(self, parts: Parts, steps: int) -> None:
        model: Any = parts.model
        self.generator, self.discriminator = deepcopy((model.generator, model.discriminator))
        self.latent_dim, self.count, self.steps = model.latent_dim, model.generator_batch_size, steps
        self.noise = StepNoise(mix(model.seed, Stream.TRAINING))
        rates = {"lr": 2e-4, "betas": (0.0, 0.9)}
        self.of_d = torch.optim.Adam(self.discriminator.parameters(), **rates)  # type: ignore[arg-type]
        self.of_g = torch.optim.Adam(self.generator.parameters(), **rates)  # type: ignore[arg-type]

    def codes(self, count: int) -> Tensor:
        return self.noise.normal((count, self.latent_dim), torch.device("cpu"))

    def fakes(self, count: int) -> Tensor:
        return (self.generator(self.codes(count)).tanh() + 1) / 2

    def step(self, index: int, real: Tensor) -> tuple[float, float]:
        """One update of each player; returns the losses of the discriminator and of the generator."""
        self.noise.start(index)
        for optimizer in (self.of_d, self.of_g):
            optimizer.param_groups[0]["lr"] = 2e-4 * (1 - index / self.steps)
        with torch.no_grad():
            fake = self.fakes(len(real))
        of_d = F.relu(1 - self.discriminator(real)).mean() + F.relu(1 + self.discriminator(fake)).mean()
        self.of_d.zero_grad()
        of_d.backward()
        self.of_d.step()
        of_g = -self.discriminator(self.fakes(self.count)).mean()
        self.of_g.zero_grad()
        of_g.backward()
        self.of_g.step()
        return of_d.item(), of_g.item()


def both(
    folder: Path, steps: int, overrides: list[str]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The losses of each step: those of `python train.py`, and those of the loop by hand."""
    options = ["experiment=sngan_cnn_cifar10", *FIXED, f"trainer.max_steps={steps}", *overrides]
    run = Run.create(folder, compose(options))
    run.save()
    parts = prepare(run)
    hand = ByHand(parts, steps)
    batches = iter(parts.data.train_loader(torch.device("cpu")))
    plain = [hand.step(index, next(batches).images) for index in range(steps)]
    train(run, parts)
    with open(folder / "metrics.csv", newline="") as file:
        rows = [tuple(float(row[name]) for name in NAMES) for row in csv.DictReader(file) if row[NAMES[0]]]
    return rows, plain  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("overrides", nargs="*", help="such as networks.encoder.width=16 networks.decoder.width=16")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = (
            torch.tensor(side) for side in both(Path(folder) / "run", arguments.steps, arguments.overrides)
        )
    print("| steps | D, ours | D, by hand | G, ours | G, by hand | largest difference |")
    print("|---|---:|---:|---:|---:|---:|")
    size = max(arguments.steps // 10, 1)
    for start in range(0, arguments.steps, size):
        a, b = ours[start : start + size], plain[start : start + size]
        means = (a.mean(0)[0], b.mean(0)[0], a.mean(0)[1], b.mean(0)[1])
        print(f"| {start + 1} to {start + len(a)} | " + " | ".join(f"{value:.4f}" for value in means), end=" | ")
        print(f"{(a - b).abs().max():.1e} |")


if __name__ == "__main__":
    main()
