"""The codebook of a VQ-VAE, learned by moving averages (van den Oord et al. 2017, appendix A.1)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.distributed import rank_and_world, total
from lightning_gen.networks.precision import FullPrecision, full_precision, no_autocast
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Decay, NonNegative


class Quantized(NamedTuple):
    """The encoder's outputs of a training batch after quantization."""

    vectors: Tensor  # [N, D], with a straight-through gradient to the outputs
    commitment: Tensor  # ||outputs - vectors||^2, summed over the batch; 0 if the quantizer needs no such loss
    scalars: dict[str, Tensor]  # to log


def usage(counts: Tensor) -> dict[str, Tensor]:
    """Perplexity and share of the codes that were used, from counts [..., K]; means over the leading dimensions."""
    share = counts / counts.sum(dim=-1, keepdim=True)
    return {
        "train/perplexity": torch.special.entr(share).sum(dim=-1).exp().mean(),
        "train/codes_used": (share > 0).float().mean(),
    }


class Codebook(FullPrecision):
    """K vectors of D dimensions, each the moving average of the encoder's outputs that are nearest to it.

    A vector is dead if no output was nearest to it for `revive_after` steps. It is then replaced by a random output
    of the current batch, as in the random restarts of Dhariwal et al. 2020, sec. 3.1. All vectors start dead, so the
    first codebook consists of outputs of the first batch. `decay`: the decay of the averages per training step.
    `commitment`: the weight beta of the commitment loss.

    It is a *quantizer*: a module with the number of codes K, the dimension D of their vectors and `depth`, the number
    of codes for each output. It has `nearest`, from outputs of the encoder [N, D] to codes [N], or [N, depth];
    `forward`, from codes to vectors [N, D]; `snapped`, from any vectors to those that codes have; and `quantized`,
    which does what a training step needs.
    """

    depth = 1

    vectors: Tensor
    counts: Tensor
    sums: Tensor
    unused: Tensor

    def __init__(
        self,
        num_codes: Count,
        dim: Count,
        decay: Decay,
        revive_after: Count,
        commitment: NonNegative = 0.25,
    ) -> None:
        super().__init__()
        self.dim, self.commitment = dim, commitment
        self.num_codes, self.decay, self.revive_after = num_codes, decay, revive_after
        self.register_buffer("vectors", torch.randn(num_codes, dim))
        self.register_buffer("counts", torch.zeros(num_codes))  # averaged number of outputs per step
        self.register_buffer("sums", torch.zeros(num_codes, dim))
        self.register_buffer("unused", torch.full((num_codes,), revive_after))  # steps since its last use

    def nearest(self, outputs: Tensor) -> Tensor:
        """The index int64 [N] of the nearest vector, for each of the encoder's outputs [N, D]."""
        outputs = full_precision(outputs)
        with no_autocast(outputs):
            return (self.vectors.square().sum(dim=1) - 2 * outputs @ self.vectors.T).argmin(dim=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Vectors [..., D] of codes int64 [...]."""
        return self.vectors[codes]

    def snapped(self, vectors: Tensor) -> Tensor:
        """The codebook's vectors that are nearest to vectors [N, D]."""
        return self(self.nearest(vectors))

    def quantized(self, outputs: Tensor, noise: Noise) -> Quantized:
        """The vectors nearest to outputs [N, D], with a straight-through gradient; also updates the codebook."""
        self.revive(outputs, noise)
        codes = self.nearest(outputs)
        chosen = self(codes)
        passed = outputs + (chosen - outputs).detach()
        return Quantized(passed, (outputs - chosen).square().sum(), usage(self.update(outputs, codes)))

    @torch.no_grad()
    def update(self, outputs: Tensor, codes: Tensor) -> Tensor:
        """Update the averages with this step's outputs [N, D] and their codes [N], over all processes.

        Returns how often each code was used, [K].
        """
        outputs = full_precision(outputs)
        chosen = F.one_hot(codes, self.num_codes).to(outputs.dtype)  # a matrix product sums in a fixed order
        with no_autocast(outputs):
            news = total(torch.cat([chosen.T @ outputs, chosen.sum(dim=0)[:, None]], dim=1))  # [K, D + 1]
        self.sums.lerp_(news[:, :-1], 1 - self.decay)
        self.counts.lerp_(news[:, -1], 1 - self.decay)
        whole = self.counts.sum()
        smooth = (self.counts + 1e-5) / (whole + self.num_codes * 1e-5) * whole  # Laplace smoothing, as in sonnet
        self.vectors.copy_(torch.where(self.counts[:, None] > 0, self.sums / smooth[:, None], self.vectors))
        self.unused.add_(1).mul_(news[:, -1] == 0)
        return news[:, -1]

    @torch.no_grad()
    def revive(self, outputs: Tensor, noise: Noise) -> None:
        """Replace dead vectors by random outputs [N, D] of the batch of all processes.

        `noise` must give the same numbers to every process, so that all choose the same outputs.
        """
        rank, world = rank_and_world()
        fair = len(outputs) * world / self.num_codes
        dead = self.unused >= self.revive_after
        place = (noise.uniform((self.num_codes,), outputs.device) * len(outputs) * world).long()
        mine = place - rank * len(outputs)
        here = (mine >= 0) & (mine < len(outputs))
        candidates = outputs[mine.clamp(0, len(outputs) - 1)] * here[:, None]
        candidates = total(candidates)  # each is nonzero in one process
        self.vectors.copy_(torch.where(dead[:, None], candidates, self.vectors))
        self.sums.copy_(torch.where(dead[:, None], candidates * fair, self.sums))
        self.counts.copy_(torch.where(dead, fair, self.counts))
        self.unused.mul_(~dead)
