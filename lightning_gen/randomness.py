"""Random numbers that are a pure function of (seed, stream, step), for any number of devices.

Training draws all noise (latents, reparameterization, binarization) here and never from the global generator. So a
run can stop at any step and resume bit for bit, and one process and several draw the same global batch.
"""

import hashlib
from enum import IntEnum, unique
from typing import Protocol

import torch
from torch import Tensor


@unique
class Stream(IntEnum):
    """The random streams, with what each draws. The seed of a stream is `mix(seed, stream)`.

    `mix(seed, n)` with n >= 0 seeds the order of epoch n and the global generator of process n. So that no two
    generators share a seed, a positive stream seeds a generator for each step, batch or chunk with `mix(mix(seed,
    stream), index)`, and a stream that seeds a generator with `mix(seed, stream)` itself is negative (except SPLIT,
    which is older than this rule).

    Do not change the numbers of streams that training draws from: the same seed would give other weights.
    """

    # Of the run's seed.
    FIT = -1  # which training images densities and probes are fitted to
    PICTURES = -2  # the latents of pictures; the same at every evaluation
    TRAINING = 2  # the noise of training steps: latents, reparameterization, corruption, penalties
    TEST = 3  # the noise of a model's own metrics on held-out images, such as the ELBO
    SPLIT = 4  # which images of a folder are held out; always with seed 0
    TRANSFORM = 5  # crops, flips, dequantization and binarization of training batches
    TEST_TRANSFORM = 6  # dequantization of held-out batches
    SUBSET = 7  # which training images dataset.fraction and dataset.limit keep
    BINARIZATION = 8  # static binarization
    POINTS = 9  # points in the plane, `mix(POINTS, split)`; the same for every seed
    CODEBOOK = 10  # where dead vectors of a codebook are moved to; the same in all processes

    # Of the secret seed of private training.
    PRIVACY_NOISE = 11  # the noise that is added to gradients
    PRIVACY_SAMPLING = 12  # which images are in a batch

    # Of the evaluation's seed.
    SAMPLES = -3  # the latents of samples, chunk by chunk
    UNIFORM = -4  # images of uniform noise, the upper end of the scale of a distance
    REFERENCE = -5  # which real images samples are compared with
    FLOOR = -6  # which real images are compared with these, the lower end of the scale
    RECONSTRUCTION = -7  # which held-out images are reconstructed, and what a random model draws for a chunk of them
    INTERPOLATION_START = -8  # the held-out images that interpolations start from, and those they end at
    INTERPOLATION_END = -9
    LIKELIHOOD = -10  # the held-out images whose likelihood is estimated
    LIKELIHOOD_NOISE = -11  # their dequantization or binarization
    LIKELIHOOD_DRAWS = -12  # the latents of the estimate
    LIKELIHOOD_SIMULATION = -13  # the images that are drawn from the model
    PATHS = -14  # the ends of the paths whose perceptual length is measured
    HELD_OUT = -15  # the held-out images of a model's own metrics
    SEEN = -18  # the training images that are compared with these, to show overfitting

    # Of the seed of an audit.
    AUDIT = -16  # which images are audited, and which of them choose the threshold
    AUDIT_DRAWS = -17  # the draws from the posterior


def mix(*numbers: int) -> int:
    """A 63-bit seed from integers; similar integers give unrelated seeds."""
    text = ",".join(str(int(number)) for number in numbers)  # int: Python 3.10 writes a Stream by its name
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Noise(Protocol):
    """A source of random numbers, such as `StepNoise`."""

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor: ...

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor: ...


class StepNoise:
    """The noise of one training step, drawn for the global batch; each rank keeps its share."""

    def __init__(self, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._step = 0
        self._generators: dict[torch.device, torch.Generator] = {}

    def start(self, step: int) -> None:
        """Start the stream of this step."""
        self._step = step
        for generator in self._generators.values():
            generator.manual_seed(mix(self.seed, step))

    def generators(self) -> list[torch.Generator]:
        """The generators that it has drawn from, one for each device."""
        return list(self._generators.values())

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(mix(self.seed, self._step))
        return self._generators[device]

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """N(0, 1) of `shape`: this rank's share of a draw of [world_size * shape[0], ...]."""
        return self._share(torch.randn, shape, device)

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """U[0, 1) of `shape`: this rank's share of a draw of [world_size * shape[0], ...]."""
        return self._share(torch.rand, shape, device)

    def _share(self, draw, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:  # type: ignore[no-untyped-def]
        if self.world_size == 1:
            return draw(shape, device=device, generator=self._generator(device))
        rows = shape[0]
        everyone = draw((rows * self.world_size, *shape[1:]), device=device, generator=self._generator(device))
        return everyone[self.rank * rows : (self.rank + 1) * rows]


class GeneratorNoise:
    """Noise from a `torch.Generator`, or the global one if None; a CPU generator gives the same on every device."""

    def __init__(self, generator: torch.Generator | None, dtype: torch.dtype = torch.float32) -> None:
        self.generator, self.dtype = generator, dtype

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """N(0, 1) of `shape`."""
        where = device if self.generator is None else self.generator.device
        return torch.randn(shape, device=where, generator=self.generator).to(device, self.dtype)

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """U[0, 1) of `shape`."""
        where = device if self.generator is None else self.generator.device
        return torch.rand(shape, device=where, generator=self.generator).to(device, self.dtype)
