"""Quantizers of a VQ-VAE besides the `Codebook`: finite scalar quantization, and several codebooks in turn."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from lightning_gen.distributed import total
from lightning_gen.models.codebook import Codebook, Quantized, usage
from lightning_gen.networks.precision import FullPrecision, full_precision
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Decay, NonNegative

Levels = Annotated[int, Ge(2)]


class FSQ(FullPrecision):
    """Finite scalar quantization: dimension i takes L_i equally spaced values in [-1, 1].

    An output of the encoder is bounded by a scaled tanh and rounded; the gradient passes straight through the
    rounding. There are prod L_i codes, no parameters and no commitment loss. Source: Mentzer et al. 2023, sec. 3.

    Args:
        levels: the number of values L_i of each dimension, 2 or more. The paper advises 5 or more.
    """

    halves: Tensor
    steps: Tensor
    counts: Tensor
    commitment = 0.0
    margin = 1e-3  # keeps the bound inside of the outermost values, as in the authors' code

    def __init__(self, levels: Sequence[Levels]) -> None:
        super().__init__()
        self.dim, self.num_codes, self.depth = len(levels), math.prod(levels), 1
        counts = torch.tensor(list(levels))
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("halves", counts // 2, persistent=False)
        self.register_buffer("steps", (counts.cumprod(0) // counts), persistent=False)  # of the code's index

    def bounded(self, outputs: Tensor) -> Tensor:
        """The encoder's outputs [N, D] before rounding, as in the authors' code."""
        outputs = full_precision(outputs)
        half = (self.counts - 1) * (1 - self.margin) / 2
        offset = 0.5 * (self.counts % 2 == 0)
        return (outputs + (offset / half).tan()).tanh() * half - offset

    def nearest(self, outputs: Tensor) -> Tensor:
        """The codes int64 [N] of the encoder's outputs [N, D]."""
        return self.indices(self.bounded(outputs).round())

    def indices(self, rounded: Tensor) -> Tensor:
        """Codes int64 [N] from rounded values [N, D]."""
        return ((rounded.long() + self.halves) * self.steps).sum(dim=-1)

    def forward(self, codes: Tensor) -> Tensor:
        """Vectors [..., D] in [-1, 1] of codes int64 [...]."""
        digits = codes.unsqueeze(-1) // self.steps % self.counts
        return (digits - self.halves) / self.halves

    def snapped(self, vectors: Tensor) -> Tensor:
        """The vectors of the codes that are nearest to vectors [N, D], which need not be in [-1, 1]."""
        rounded = (vectors * self.halves).round().long()
        return rounded.clamp(-self.halves, self.counts - 1 - self.halves) / self.halves

    def quantized(self, outputs: Tensor, noise: Noise) -> Quantized:
        """The vectors of the outputs [N, D], with a straight-through gradient; `noise` is not used."""
        bounded = self.bounded(outputs)
        rounded = bounded.round()
        share = torch.bincount(self.indices(rounded), minlength=self.num_codes).to(bounded.dtype)
        passed = (bounded + (rounded - bounded).detach()) / self.halves
        return Quantized(passed, passed.new_zeros(()), usage(total(share)))


class ResidualQuantizer(FullPrecision):
    """`depth` codebooks in turn: each quantizes what the sum of the vectors before it leaves of an output.

    Each codebook learns by moving averages, see `Codebook`. The commitment loss is the sum over d of
    ||E(x) - e_d||^2, with e_d the sum of the first d vectors. Source: Zeghidour et al. 2021, algorithm 1; Lee et al.
    2022, sec. 3.1, whose codebooks are one.
    """

    def __init__(
        self,
        depth: Count,
        num_codes: Count,
        dim: Count,
        decay: Decay,
        revive_after: Count,
        commitment: NonNegative,
    ) -> None:
        super().__init__()
        self.depth, self.num_codes, self.dim, self.commitment = depth, num_codes, dim, commitment
        books = (Codebook(num_codes, dim, decay, revive_after) for _ in range(depth))
        self.codebooks: nn.ModuleList = nn.ModuleList(books)

    def nearest(self, outputs: Tensor) -> Tensor:
        """The codes int64 [N, depth] of the encoder's outputs [N, D]."""
        left, codes = full_precision(outputs), []
        for codebook in self.codebooks:
            codes.append(codebook.nearest(left))  # type: ignore[operator]
            left = left - codebook(codes[-1])
        return torch.stack(codes, dim=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Vectors [..., D], the sums over the codebooks, of codes int64 [..., depth]."""
        vectors = [book(code) for book, code in zip(self.codebooks, codes.unbind(dim=-1), strict=True)]
        return torch.stack(vectors).sum(dim=0)

    def snapped(self, vectors: Tensor) -> Tensor:
        """The same vectors: finding those of the nearest codes takes a search over all combinations."""
        return vectors

    def quantized(self, outputs: Tensor, noise: Noise) -> Quantized:
        """The vectors of the outputs [N, D], with a straight-through gradient; also updates the codebooks."""
        left, sums, losses, shares = outputs.detach(), torch.zeros_like(outputs), [], []
        for codebook in self.codebooks:
            assert isinstance(codebook, Codebook)
            codebook.revive(left, noise)
            codes = codebook.nearest(left)
            vectors = codebook(codes)
            shares.append(codebook.update(left, codes))
            left, sums = left - vectors, sums + vectors
            losses.append((outputs - sums).square().sum())
        passed = outputs + (sums - outputs).detach()
        return Quantized(passed, torch.stack(losses).sum(), usage(torch.stack(shares)))
