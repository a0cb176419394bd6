"""Random numbers that are a pure function of (seed, stream, step), whatever the number of devices.

Training draws its noise (latents, reparameterization, binarization) here, never from the global generator: so
a run can stop at any step and go on bit-identically, and one process and many draw the same global batch.
"""

import hashlib
from typing import Protocol

import torch
from torch import Tensor


def mix(*numbers: int) -> int:
    """A 63-bit seed from integers; near seeds give unrelated streams."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
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
