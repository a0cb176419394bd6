"""The cost of a training step, side by side in one process with the loop that one would write by hand.

python benchmarks/loop.py --data data                       all jobs
python benchmarks/loop.py --data data --jobs iwae mlp_ae_64 --rounds 9 --steps 200
python benchmarks/loop.py --data data --operations          how many operations a step has, in place of its time

Each job trains a model as `python train.py` does, with its callbacks and its log every 50 steps, and the same
networks in a plain PyTorch loop: the images in memory as floats, fused Adam, and an average of the weights where the
job has one. The two take turns of some steps each, and the median turn counts: CPU time, to which other work on the
machine adds little, and wall time. One thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_gen.config.compose import compose
from lightning_gen.data.loader import Streams
from lightning_gen.errors import quiet_libraries
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare

Step = Callable[[Tensor], Any]  # trains on images [B, C, H, W]


class Job(NamedTuple):
    """A model and its plain loop."""

    overrides: tuple[str, ...]
    plain: Callable[[Any], Step]


# -- the plain loops: what one would write by hand for just this job ------------------------------------------------


def adam(*modules: nn.Module, **options: Any) -> torch.optim.Adam:
    return torch.optim.Adam([p for module in modules for p in module.parameters()], fused=True, **options)


def plain_ae(model: Any) -> Step:
    encoder, code, decoder = deepcopy((model.encoder, model.code, model.decoder))
    optimizer = adam(encoder, code, decoder, lr=1e-3)

    def step(images: Tensor) -> None:
        reconstruction = decoder(code(encoder(images))).sigmoid()
        loss = (reconstruction - images).square().flatten(1).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_vae(model: Any, binary: bool = True) -> Step:
    encoder, head, decoder = deepcopy((model.encoder, model.posterior, model.decoder))
    optimizer = adam(encoder, head, decoder, lr=1e-3)
    weight, bias = head.weight, head.bias

    def step(images: Tensor) -> None:
        images = torch.bernoulli(images) if binary else images
        mean, log_variance = F.linear(encoder(images), weight, bias).chunk(2, dim=1)
        latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        likelihood = -F.binary_cross_entropy_with_logits(decoder(latents), images, reduction="sum")
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        loss = (kl - likelihood) / len(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_gan(model: Any) -> Step:
    generator, discriminator = deepcopy((model.generator, model.discriminator))
    average = deepcopy(generator)
    averaged, current = ([t for t in m.state_dict().values() if t.is_floating_point()] for m in (average, generator))
    of_d, of_g = (adam(module, lr=2e-4, betas=(0.5, 0.999)) for module in (discriminator, generator))

    def step(images: Tensor) -> None:
        codes = torch.randn(len(images), model.latent_dim)
        with torch.no_grad():
            fake = (generator(codes).tanh() + 1) / 2
        loss = F.softplus(-discriminator(images)).mean() + F.softplus(discriminator(fake)).mean()
        of_d.zero_grad()
        loss.backward()
        of_d.step()
        discriminator.requires_grad_(False)
        fake = (generator(torch.randn_like(codes)).tanh() + 1) / 2
        loss = F.softplus(-discriminator(fake)).mean()
        of_g.zero_grad()
        loss.backward()
        of_g.step()
        discriminator.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(averaged, current, 0.002)

    return step


MLP = "networks=mlp"
SMALL, LARGE = "networks.encoder.widths=[64]", "networks.encoder.widths=[256]"
VAE = ("model=vae", "model/likelihood=bernoulli")
GAN = ("model=gan", "model/penalty=none")
JOBS = {
    "mlp_ae_64": Job(("model=ae", MLP, SMALL, "dataset.batch_size=64"), plain_ae),
    "mlp_ae_256": Job(("model=ae", MLP, LARGE, "dataset.batch_size=128"), plain_ae),
    "mlp_vae_64": Job((*VAE, MLP, SMALL, "dataset.batch_size=64"), plain_vae),
    "mlp_vae_256": Job((*VAE, MLP, LARGE, "dataset.batch_size=128"), plain_vae),
    "mlp_gan_64": Job((*GAN, MLP, SMALL, "dataset.batch_size=64"), plain_gan),
    "mlp_gan_256": Job((*GAN, MLP, LARGE, "dataset.batch_size=128"), plain_gan),
    "conv_vae": Job((*VAE, "networks=conv", "dataset.batch_size=64"), plain_vae),
    "conv_gan": Job((*GAN, "networks=conv", "dataset.batch_size=64"), plain_gan),
    "iwae": Job(("experiment=vae_mnist_iwae2016", "trainer.log_every_n_steps=50"), plain_vae),
}


# -- taking turns ----------------------------------------------------------------------------------------------------


class Done(Exception):
    """Ends the training."""


class Counting(TorchDispatchMode):
    """Counts the operations on tensors, those of backward passes and optimizers too."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        Counting.operations += 1
        return func(*args, **(kwargs or {}))


class Turn(NamedTuple):
    """Seconds of one turn, and the operations in it if they are counted."""

    cpu: float
    wall: float
    operations: float


def now() -> Turn:
    return Turn(time.process_time(), time.perf_counter(), Counting.operations)


def since(start: Turn) -> Turn:
    return Turn(*(b - a for a, b in zip(start, now(), strict=True)))


def endless(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    while True:
        for chosen in torch.randperm(len(images)).split(batch_size)[: len(images) // batch_size]:
            yield images.index_select(0, chosen)


class TakingTurns:
    """A stream of training batches which after every `steps` batches lets the plain loop have its turn."""

    def __init__(self, loader: Any, other: Callable[[], None], steps: int, rounds: int) -> None:
        self.loader, self.other, self.steps, self.rounds = loader, other, steps, rounds
        self.ours: list[Turn] = []
        self.theirs: list[Turn] = []

    def streams(self) -> Streams:
        return Streams(self)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        start = now()
        for count, batch in enumerate(self.loader):
            if count and count % self.steps == 0:
                self.ours.append(since(start))
                if len(self.theirs) == self.rounds:
                    raise Done
                start = now()
                for _ in range(self.steps):
                    self.other()
                self.theirs.append(since(start))
                start = now()
            yield batch


def take_turns(job: Job, arguments: argparse.Namespace) -> tuple[list[Turn], list[Turn]]:
    """The turns of our training and of the plain loop, without the first of each."""
    torch.manual_seed(0)
    options = ["hardware=cpu", "logger=csv", "trainer.enable_progress_bar=false", "dataset=mnist"]
    options += ["trainer.max_steps=1000000", "evaluation.every_n_steps=1000000", "checkpoint.every_n_steps=1000000"]
    options += ["evaluation.metrics=[fid]", "evaluation.num_samples=100", "evaluation.num_reference=100"]
    options += ["evaluation.nll.k=0", "evaluation.projection=null", f"dataset.root={arguments.data}"]
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), compose([*options, *job.overrides, *arguments.overrides]))
        run.save()
        parts = prepare(run)
        images = parts.data.train.images.float() / 255
        step, batches = job.plain(parts.model), endless(images, parts.data.batch_size)
        make = parts.data.train_loader
        turns: list[TakingTurns] = []

        def train_loader(*args: Any, **options: Any) -> Any:
            plain, count = lambda: step(next(batches)), (arguments.steps, arguments.rounds + 1)
            turns.append(TakingTurns(make(*args, **options), plain, *count))
            return turns[-1]

        parts.data.train_loader = train_loader  # type: ignore[method-assign]
        with suppress(Done), Counting() if arguments.operations else nullcontext():
            parts.trainer.fit(parts.model, datamodule=parts.data)
    return turns[-1].ours[1:], turns[-1].theirs[1:]


def median(turns: list[Turn], steps: int) -> Turn:
    """The median milliseconds and operations of a step."""
    cpu, wall, operations = (statistics.median(column) / steps for column in zip(*turns, strict=True))
    return Turn(1000 * cpu, 1000 * wall, operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--steps", type=int, default=100, help="steps in a turn")
    parser.add_argument("--overrides", nargs="*", default=[], help="more overrides for our side")
    parser.add_argument("--operations", action="store_true", help="count operations; the times are of no use then")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    if arguments.operations:
        print("| job | operations, plain | ours |\n|---|---:|---:|")
        for name in arguments.jobs:
            ours, plain = (median(turns, arguments.steps) for turns in take_turns(JOBS[name], arguments))
            print(f"| {name} | {plain.operations:.0f} | {ours.operations:.0f} |", flush=True)
        return
    print(f"torch {torch.__version__}, one thread, medians of {arguments.rounds} turns of {arguments.steps} steps\n")
    print(
        "| job | plain, ms | ours, ms | difference, ms | ratio | ratio in wall time | steps a second, ours / plain |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in arguments.jobs:
        ours, plain = (median(turns, arguments.steps) for turns in take_turns(JOBS[name], arguments))
        print(
            f"| {name} | {plain.cpu:.3f} | {ours.cpu:.3f} | {ours.cpu - plain.cpu:.3f} | {ours.cpu / plain.cpu:.2f} "
            f"| {ours.wall / plain.wall:.2f} | {1000 / ours.cpu:.0f} / {1000 / plain.cpu:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
