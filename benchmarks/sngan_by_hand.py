"""SNGAN with plain convolutions, trained here and by a loop of plain PyTorch: are the curves equal?

python benchmarks/sngan_by_hand.py --steps 300 dataset=image_folder dataset.root=FOLDER dataset.size=32

Both sides train `experiment=sngan_cnn_cifar10` from the same initial weights, on the same batches and codes. The
loop below is what one would write by hand after Miyato et al. 2018: hinge loss, spectral norm in the discriminator,
Adam, a learning rate that falls linearly to 0. More arguments are overrides: narrower networks, other images.

Two orders of the same sums differ by rounding, and the training of a GAN makes any difference larger. How fast, a
second loop by hand shows: it differs from the first by one weight, which is larger by a ten-millionth.
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

    def __init__(self, parts: Parts, steps: int, moved: float = 0.0) -> None:
        model: Any = parts.model
        self.generator, self.discriminator = deepcopy((model.generator, model.discriminator))
        next(self.generator.parameters()).data.view(-1)[0] *= 1 + moved
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


def sides(folder: Path, steps: int, overrides: list[str]) -> list[Tensor]:
    """The losses of each step, [steps, 2]: of `python train.py`, of the loop by hand, and of its twin."""
    options = ["experiment=sngan_cnn_cifar10", *FIXED, f"trainer.max_steps={steps}", *overrides]
    run = Run.create(folder, compose(options))
    run.save()
    parts = prepare(run)
    hands = ByHand(parts, steps), ByHand(parts, steps, moved=1e-7)
    plain = []
    for hand in hands:
        batches = iter(parts.data.train_loader(torch.device("cpu")))
        plain.append([hand.step(index, next(batches).images) for index in range(steps)])
    train(run, parts)
    with open(folder / "metrics.csv", newline="") as file:
        rows = [tuple(float(row[name]) for name in NAMES) for row in csv.DictReader(file) if row[NAMES[0]]]
    return [torch.tensor(side) for side in (rows, *plain)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("overrides", nargs="*", help="such as networks.encoder.width=16 networks.decoder.width=16")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        ours, plain, twin = sides(Path(folder) / "run", arguments.steps, arguments.overrides)
    print("| steps | D: ours | by hand | twin | G: ours | by hand | twin | difference, ours | twin |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    size = max(arguments.steps // 10, 1)
    for start in range(0, arguments.steps, size):
        parts = [side[start : start + size] for side in (ours, plain, twin)]
        means = [f"{part[:, player].mean():.3f}" for player in (0, 1) for part in parts]
        apart = [f"{(part - parts[1]).abs().max():.0e}" for part in (parts[0], parts[2])]
        print(f"| {start + 1} to {start + len(parts[0])} | " + " | ".join(means + apart) + " |")


if __name__ == "__main__":
    main()
