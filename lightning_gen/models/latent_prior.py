"""The distributions of a generator's codes."""

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_gen.randomness import Noise

LatentPrior = Literal["normal", "uniform", "truncated"]
TRUNCATED_AT = 2.0  # standard deviations, as in the training of BigGAN (Brock et al. 2019, sec. 3.1)


def draw_codes(
    kind: LatentPrior, noise: Noise, shape: tuple[int, ...], device: torch.device, truncation: float | None = None
) -> Tensor:
    """Codes of this shape: `normal`, N(0, 1); `uniform`, U[-1, 1); `truncated`, N(0, 1) restricted to [-2, 2].

    `truncation` trades variety for typical images (Brock et al. 2019, sec. 3.1): normal codes are restricted to
    [-truncation, truncation], uniform codes are multiplied by it.
    """
    if kind == "uniform":
        return (2 * noise.uniform(shape, device) - 1) * (1.0 if truncation is None else truncation)
    limit = truncation or (TRUNCATED_AT if kind == "truncated" else None)
    if limit is None:
        return noise.normal(shape, device)
    inside = (2 * noise.uniform(shape, device) - 1) * math.erf(limit / math.sqrt(2))
    return (math.sqrt(2) * torch.erfinv(inside)).clamp(-limit, limit)  # by the inverse distribution function
