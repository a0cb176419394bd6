"""The densities from which a test likelihood is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lightning_gen.randomness import Noise


@dataclass(frozen=True)
class Densities:
    """p(x, z) and q(z|x) for one batch of images, encoded once.

    Latents are [k, B, Z]; densities are [k, B], in nats. A model whose p(x) is known exactly has no latents, Z = 0:
    then p(x|z) = p(x), and whatever is estimated from draws of z is exact. `values`: the size of the decoder's output
    for one image.
    `discrete`: log p is the log-probability of 8-bit images (true), the log-density of dequantized images (false), or
    neither (None).
    """

    shape: tuple[int, int]  # B, Z
    draw: Callable[[Tensor], tuple[Tensor, Tensor]]  # from N(0, I) noise: latents and log q(z|x)
    log_prior: Callable[[Tensor], Tensor]
    log_likelihood: Callable[[Tensor], Tensor]
    draw_prior: Callable[[Tensor, Tensor], Tensor]  # from N(0, I) [N, Z] and U[0, 1) [N]: latents [N, Z]
    simulate: Callable[[Tensor, Noise], Tensor] | None = None  # from latents [B, Z]: images drawn from p(x|z)
    values: int = 1
    discrete: bool | None = None

    @property
    def exact(self) -> bool:
        """Whether log p(x) is known, because there are no latents."""
        return self.shape[1] == 0

    def log_joint(self, latents: Tensor) -> Tensor:
        """log p(x, z), [k, B]."""
        return self.log_likelihood(latents) + self.log_prior(latents)
