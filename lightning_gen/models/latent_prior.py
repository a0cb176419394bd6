"""What a generator's codes are drawn from."""

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_gen.randomness import Noise

LatentPrior = Literal["normal", "uniform", "truncated"]
TRUNCATED_AT = 2.0  # standard deviations, as BigGAN trained with (Brock et al. 2019, sec. 3.1)


def draw_codes(
    kind: LatentPrior, noise: Noise, shape: tuple[int, ...], device: torch.device, truncation: float | None = None
) -> Tensor:
    """Codes in `shape`: `normal`, N(0, 1); `uniform`, U[-1, 1); `truncated`, N(0, 1) given that it is within +-2.

    `truncation`: normal codes are drawn given that they are within +-truncation, uniform ones are shrunk by it: fewer
    kinds of images, each more typical (Brock et al. 2019, sec. 3.1).
    """
    if kind == "uniform":
        return (2 * noise.uniform(shape, device) - 1) * (1.0 if truncation is None else truncation)
    limit = truncation or (TRUNCATED_AT if kind == "truncated" else None)
    if limit is None:
        return noise.normal(shape, device)
    inside = (2 * noise.uniform(shape, device) - 1) * math.erf(limit / math.sqrt(2))
    return (math.sqrt(2) * torch.erfinv(inside)).clamp(-limit, limit)  # by the inverse of the distribution function
