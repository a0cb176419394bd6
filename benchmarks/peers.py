"""The cost of a training step, side by side in one process with the way that well-known scripts do the same job.

python benchmarks/peers.py --data data                  float32, and hardware=cpu_fast
python benchmarks/peers.py --data data --jobs vae --rounds 5

The scripts, as PyTorch's own examples of a VAE and of DCGAN do: images one by one as PIL images, transformed by
torchvision in a DataLoader without workers, binary cross entropy on probabilities, Adam without fusion, separate
passes for real and generated images, and `.item()` at each step. Ours is `python train.py` with the same networks,
batch and optimizer. Both take turns in one process, with one thread, and the median turn of CPU time counts. The
plain loop of benchmarks/loop.py comes after them: no framework can be much faster.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from loop import Done, TakingTurns, endless, median, now, plain_gan, plain_vae, since  # benchmarks/loop.py
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from lightning_gen.config.compose import compose
from lightning_gen.errors import quiet_libraries
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare

JOBS: dict[str, tuple[str, ...]] = {
    "vae": (
        "model=vae",
        "model/likelihood=bernoulli",
        "model.likelihood.binarize=false",
        "networks=mlp",
        "networks.encoder.widths=[400]",
        "networks.encoder.activation=relu",
        "model.latent_dim=20",
        "dataset.batch_size=128",
    ),
    "gan": ("model=gan", "networks=mlp", "networks.encoder.widths=[256]", "dataset.batch_size=128"),
    "dcgan": ("model=gan", "networks=dcgan", "dataset.size=32", "ema=none", "dataset.batch_size=64"),
}
FAST = ("hardware=cpu_fast",)


def loader(data: str, size: int, batch_size: int) -> Iterator[Tensor]:
    """Images as the scripts load them."""
    steps = [] if size == 28 else [transforms.Resize(size)]
    dataset = datasets.MNIST(data, transform=transforms.Compose([*steps, transforms.ToTensor()]))
    while True:
        for images, _ in DataLoader(dataset, batch_size, shuffle=True, drop_last=True):
            yield images


def script_vae(model: Any, batches: Iterator[Tensor]) -> Callable[[], Any]:
    encoder, head, decoder = deepcopy((model.encoder, model.posterior, model.decoder))
    parameters = [p for module in (encoder, head, decoder) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def step() -> float:
        images = next(batches)
        optimizer.zero_grad()
        mean, log_variance = F.linear(encoder(images), head.weight, head.bias).chunk(2, dim=1)
        latents = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        reconstruction = torch.sigmoid(decoder(latents))
        error = F.binary_cross_entropy(reconstruction, images, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = error + kl
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def script_gan(model: Any, batches: Iterator[Tensor]) -> Callable[[], Any]:
    generator, discriminator = deepcopy((model.generator, model.discriminator))
    options: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999)}
    of_d = torch.optim.Adam(discriminator.parameters(), **options)
    of_g = torch.optim.Adam(generator.parameters(), **options)

    def judged(images: Tensor, label: float) -> Tensor:
        probability = torch.sigmoid(discriminator(images))
        return F.binary_cross_entropy(probability, torch.full((len(images),), label))

    def step() -> tuple[float, ...]:
        real = next(batches)
        discriminator.zero_grad()
        error_real = judged(real, 1.0)
        error_real.backward()
        fake = (generator(torch.randn(len(real), model.latent_dim)).tanh() + 1) / 2
        error_fake = judged(fake.detach(), 0.0)
        error_fake.backward()
        of_d.step()
        generator.zero_grad()
        error = judged(fake, 1.0)
        error.backward()
        of_g.step()
        return error_real.item(), error_fake.item(), error.item()

    return step


def take_turns(name: str, more: tuple[str, ...], arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Milliseconds of CPU time of a step: ours, the script's and the plain loop's."""
    torch.manual_seed(0)
    common = ["hardware=cpu", "logger=csv", "trainer.enable_progress_bar=false", "dataset=mnist"]
    common += ["trainer.max_steps=1000000", "evaluation.every_n_steps=1000000", "checkpoint.every_n_steps=1000000"]
    common += ["evaluation.metrics=[fid]", "evaluation.num_samples=100", "evaluation.num_reference=100"]
    common += ["evaluation.nll.k=0", "evaluation.projection=null", f"dataset.root={arguments.data}"]
    chosen = [option for option in common if not (more and option.startswith("hardware="))]
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder), compose([*chosen, *JOBS[name], *more]))
        run.save()
        parts = prepare(run)
        batches = loader(arguments.data, parts.data.image_shape[-1], parts.data.batch_size)
        step = (script_vae if name == "vae" else script_gan)(parts.model, batches)
        plain = (lambda model: plain_vae(model, binary=False)) if name == "vae" else plain_gan
        plain_step, plain_batches = plain(parts.model), endless(parts.data.train.images / 255, parts.data.batch_size)
        make, turns = parts.data.train_loader, list[TakingTurns]()
        steps = arguments.steps if name != "dcgan" else max(arguments.steps // 10, 3)

        def train_loader(*args: Any, **options: Any) -> Any:
            turns.append(TakingTurns(make(*args, **options), step, steps, arguments.rounds + 1))
            return turns[-1]

        parts.data.train_loader = train_loader  # type: ignore[method-assign]
        with suppress(Done):
            parts.trainer.fit(parts.model, datamodule=parts.data)
    plain_turns = []
    for _ in range(arguments.rounds + 1):
        start = now()
        for _ in range(steps):
            plain_step(next(plain_batches))
        plain_turns.append(since(start))
    found = (turns[-1].ours, turns[-1].theirs, plain_turns)
    ours, script, floor = (median(each[1:], steps).cpu for each in found)
    return ours, script, floor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that holds MNIST/")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=50, help="steps in a turn; a tenth for the convolutions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    print("| job | script, ms a step | plain loop, ms | ours, ms | times as fast: ours | the plain loop |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in arguments.jobs:
        for more in ((), FAST):
            ours, script, plain = take_turns(name, more, arguments)
            title = " ".join([name, *more])
            times = f"{script / ours:.2f} | {script / plain:.2f}"
            print(f"| {title} | {script:.2f} | {plain:.2f} | {ours:.2f} | {times} |", flush=True)


if __name__ == "__main__":
    main()
