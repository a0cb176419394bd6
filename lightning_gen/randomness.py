"""Random numbers that are a pure function of (seed, stream, step), whatever the number of devices.

Training draws its noise (latents, reparameterization, binarization) here, never from the global generator: so
a run can stop at any step and go on bit-identically, and one process and many draw the same global batch.
"""

import hashlib
from enum import IntEnum, unique
from typing import Protocol

import torch
from torch import Tensor


@unique
class Stream(IntEnum):
    """What each random stream draws: `mix(seed, stream)` is its seed.

    `mix(seed, n)` with n >= 0 seeds the order of epoch n and the global generator of process n. So a positive stream
    has a generator of its own for each step, batch or chunk, `mix(mix(seed, stream), index)`, and a stream whose
    `mix(seed, stream)` seeds a generator itself is negative (all but SPLIT, which is older than this rule).

    The numbers of what training draws must not change: the same seed would train other weights.
    """

    # Of the run's seed.
    FIT = -1  # which training images densities and probes are fitted to
    PICTURES = -2  # the latents of pictures, the same at every evaluation
    TRAINING = 2  # the noise of training steps: latents, reparameterization, corruption, penalties
    TEST = 3  # the noise of a model's own metrics over held-out images, such as the ELBO's
    SPLIT = 4  # which images of a folder are held out; always of seed 0
    TRANSFORM = 5  # crops, flips, dequantization and binarization of training batches
    TEST_TRANSFORM = 6  # dequantization of held-out batches
    SUBSET = 7  # which training images dataset.fraction and dataset.limit keep
    BINARIZATION = 8  # static binarization
    POINTS = 9  # the points of a mixture in the plane, `mix(POINTS, split)`: the same for every seed
    CODEBOOK = 10  # where dead vectors of a codebook are put; all processes draw the same

    # Of the evaluation's seed.
    SAMPLES = -3  # the latents of samples, chunk by chunk
    UNIFORM = -4  # uniform noise images, the upper end of a distance's scale
    REFERENCE = -5  # which real images samples are compared with
    FLOOR = -6  # which other real images are, the lower end of the scale
    RECONSTRUCTION = -7  # which held-out images are reconstructed, and what a random model draws for a chunk
    INTERPOLATION_START = -8  # the held-out images between which is interpolated
    INTERPOLATION_END = -9
    LIKELIHOOD = -10  # the held-out images whose likelihood is estimated
    LIKELIHOOD_NOISE = -11  # their dequantization or binarization
    LIKELIHOOD_DRAWS = -12  # the latents of the estimate


def mix(*numbers: int) -> int:
    """A 63-bit seed from integers; near seeds give unrelated streams."""
    text = ",".join(str(int(number)) for number in numbers)  # int: Python 3.10 writes a Stream by its name
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Noise(Protocol):
    """Where random numbers come from; what `StepNoise` gives."""

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor: ...

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor: ...


class StepNoise:
    """The noise of one training step: drawn for the global batch, of which each rank keeps its own share."""

    def __init__(self, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._step = 0
        self._generators: dict[torch.device, torch.Generator] = {}

    def start(self, step: int) -> None:
        """Begin the stream of this step."""
        self._step = step
        for generator in self._generators.values():
            generator.manual_seed(mix(self.seed, step))

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(mix(self.seed, self._step))
        return self._generators[device]

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """N(0, 1) in `shape`, the rank's share of a draw for [world_size * shape[0], ...]."""
        return self._share(torch.randn, shape, device)

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """U[0, 1) in `shape`, the rank's share of a draw for [world_size * shape[0], ...]."""
        return self._share(torch.rand, shape, device)

    def _share(self, draw, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:  # type: ignore[no-untyped-def]
        rows = shape[0]
        everyone = draw((rows * self.world_size, *shape[1:]), device=device, generator=self._generator(device))
        return everyone[self.rank * rows : (self.rank + 1) * rows]


class GeneratorNoise:
    """The same draws from a `torch.Generator` (None: the global one); from one of the CPU alike on every device."""

    def __init__(self, generator: torch.Generator | None, dtype: torch.dtype = torch.float32) -> None:
        self.generator, self.dtype = generator, dtype

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """N(0, 1) in `shape`."""
        where = device if self.generator is None else self.generator.device
        return torch.randn(shape, device=where, generator=self.generator).to(device, self.dtype)

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        """U[0, 1) in `shape`."""
        where = device if self.generator is None else self.generator.device
        return torch.rand(shape, device=where, generator=self.generator).to(device, self.dtype)
