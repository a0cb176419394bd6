"""The kernel Inception distance (KID): an unbiased squared maximum mean discrepancy (MMD) with a cubic kernel."""

from __future__ import annotations

import torch
from torch import Tensor


def polynomial_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased squared maximum mean discrepancy with the kernel k(x, y) = (x.y / d + 1)^3.

    Binkowski et al. 2018, "Demystifying MMD GANs"; the estimator is unbiased, so it may be negative.

    Args:
        x: features [..., m, d].
        y: features [..., m, d].

    Returns:
        [...], float64.
    """
    if x.device.type == "mps":  # MPS has no float64
        x, y = x.cpu(), y.cpu()
    x, y = x.double(), y.double()
    m, n = x.shape[-2], y.shape[-2]
    xx, yy, xy = _cubic(x, x), _cubic(y, y), _cubic(x, y)
    within_x = (xx.sum((-1, -2)) - xx.diagonal(dim1=-2, dim2=-1).sum(-1)) / (m * (m - 1))
    within_y = (yy.sum((-1, -2)) - yy.diagonal(dim1=-2, dim2=-1).sum(-1)) / (n * (n - 1))
    return within_x + within_y - 2 * xy.mean((-1, -2))


def kernel_distance(
    fake: Tensor, real: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The kernel distance: mean and standard deviation of the MMD over random subsets.

    Args:
        fake: features of samples [N, d].
        real: features of real images [M, d].
        subsets: number of subsets, each drawn without replacement from both sides.
        subset_size: images in a subset, at most as many as the smaller side has.
        seed: draws the subsets; the global generator is not touched.

    Raises:
        ValueError: fewer than two images on one side.
    """
    size = min(subset_size, len(fake), len(real))
    if size < 2:
        raise ValueError(f"a kernel distance needs at least 2 images on each side, got {len(fake)} and {len(real)}")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x = fake[torch.randperm(len(fake), generator=generator)[:size].to(fake.device)]
        y = real[torch.randperm(len(real), generator=generator)[:size].to(real.device)]
        values.append(polynomial_mmd(x, y))
    stacked = torch.stack(values)
    return float(stacked.mean()), float(stacked.std(correction=0))


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.mT).div_(x.shape[-1]).add_(1).pow_(3)
