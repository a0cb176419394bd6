"""The Frechet distance between Gaussians fitted to features, from running moments in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_gen import distributed
from lightning_gen.files import write_atomically

CPU_UP_TO = 256  # features up to which the decomposition is faster on the CPU than on a GPU


@dataclass
class Moments:
    """Mean and covariance of features from running sums in float64; memory is d^2 for any number of images.

    Attributes:
        n: number of feature vectors seen.
        sum: their sum [d], float64.
        outer: the sum of their outer products [d, d], float64.
    """

    n: int
    sum: Tensor
    outer: Tensor
    _root: Tensor | None = field(default=None, repr=False, compare=False)

    @classmethod
    def empty(cls, num_features: int, device: torch.device | str = "cpu") -> Moments:
        """The moments of no features. For MPS, which has no float64, the sums are kept on the CPU."""
        device = "cpu" if torch.device(device).type == "mps" else device
        zeros = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)
        return cls(0, zeros[0].clone(), zeros)

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features [N, d]."""
        moments = cls.empty(features.shape[1], features.device)
        moments.update(features)
        return moments

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Add features [N, d] of any floating type."""
        features = features.to(self.sum.device).double()
        self.n += len(features)
        self.sum += features.sum(0)
        self.outer += features.T @ features
        self._root = None

    def merge(self, other: Moments) -> None:
        """Add the sums of another set, to get the moments of the union."""
        self.n += other.n
        self.sum += other.sum.to(self.sum.device)
        self.outer += other.outer.to(self.sum.device)
        self._root = None

    def all_reduce(self) -> None:
        """Add up the sums over all processes; does nothing if there is only one."""
        count = self.sum.new_tensor([self.n])
        for tensor in (count, self.sum, self.outer):
            distributed.all_reduce_sum(tensor)
        self.n = int(count.item())
        self._root = None

    @property
    def mean(self) -> Tensor:
        """Mean [d], float64."""
        return self.sum / self.n

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance [d, d] (divided by n - 1), float64."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.n}")
        centred = self.outer - torch.outer(self.sum, self.sum) / self.n
        return (centred + centred.T) / (2 * (self.n - 1))

    def root(self) -> Tensor:
        """A matrix A [d, r] with A A^T = covariance, where r is the numerical rank; kept for the next call."""
        if self._root is None:
            covariance = self.covariance.cpu() if len(self.sum) <= CPU_UP_TO else self.covariance
            if not torch.isfinite(covariance).all():
                raise ValueError("the features are not finite")
            values, vectors = torch.linalg.eigh(covariance)
            # Rounding turns zero eigenvalues into tiny ones, whose roots would be large: drop them.
            kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
            self._root = vectors[:, kept] * values[kept].sqrt()
        return self._root

    def save(self, path: Path) -> None:
        """Write an .npz file with ``mu`` and ``sigma``, as pytorch-fid does, and ``n``; atomically."""
        mean, covariance = self.mean.cpu().numpy(), self.covariance.cpu().numpy()
        write_atomically(path, lambda file: np.savez(file, mu=mean, sigma=covariance, n=np.array(self.n)))

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Moments:
        """Read a file written by ``save``."""
        with np.load(path) as arrays:
            n, mean, covariance = int(arrays["n"]), arrays["mu"], arrays["sigma"]
        return cls.from_statistics(torch.from_numpy(mean), torch.from_numpy(covariance), n, device)

    @classmethod
    def from_statistics(cls, mean: Tensor, covariance: Tensor, n: int, device: torch.device | str = "cpu") -> Moments:
        """The moments of n features with this mean [d] and unbiased covariance [d, d]."""
        total = cls.empty(len(mean), device)
        total.n = n
        total.sum = mean.double().to(total.sum.device) * n
        centred = covariance.double().to(total.sum.device) * (n - 1)
        total.outer = centred + torch.outer(total.sum, total.sum) / n
        return total


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared Frechet distance between two multivariate Gaussians with these moments.

    d^2 = |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))
    (Dowson & Landau 1982; Heusel et al. 2017, eq. 6).

    With S = A A^T, the trace of the matrix root is the sum of the singular values of A_a^T A_b. This is real and
    exact also for rank-deficient covariances (fewer images than features), for which the root of the product is
    neither.

    Returns:
        The squared distance, at least 0 and never NaN.

    Raises:
        ValueError: fewer than two images on one side, features that are not finite, or of different lengths.
    """
    if a.sum.shape != b.sum.shape:
        raise ValueError(f"features of different lengths: {len(a.sum)} and {len(b.sum)}")
    root_a, root_b = a.root(), b.root()
    device = root_a.device
    root_b = root_b.to(device)
    cross = torch.linalg.svdvals(root_a.T @ root_b).sum() if root_a.numel() and root_b.numel() else 0.0
    shift = (a.mean.to(device) - b.mean.to(device)).square().sum()
    distance = float(shift + root_a.square().sum() + root_b.square().sum() - 2 * cross)
    if not math.isfinite(distance):
        raise ValueError("the features are not finite")
    return max(distance, 0.0)


def least_for_infinity(width: int) -> int:
    """The fewest samples for ``frechet_infinity`` with this many features: its line needs two sizes."""
    return max(width // 2, 2) + 1


def frechet_infinity(features: Tensor, reference: Moments, *, points: int = 15, seed: int = 0) -> float:
    """FID-infinity: the distance extrapolated to infinitely many samples, by a line through distances against 1/n.

    Chong & Forsyth 2020, "Effectively unbiased FID and Inception score and where to find them": the bias of the
    distance is linear in 1/n. This removes the bias that comes from the samples; that of the reference stays.

    Args:
        features: of the samples [N, d].
        reference: moments of the real images.
        points: number of random subsets, of sizes evenly spaced from N/10 (at least d/2 and 100) to N.
        seed: draws the subsets; the global generator is not touched.

    Returns:
        The intercept; noise can make it slightly negative.

    Raises:
        ValueError: too few samples to fit a line.
    """
    total, width = features.shape
    smallest = max(total // 10, width // 2, min(100, total // 2), 2)
    sizes = torch.linspace(smallest, max(total, smallest), points).long().unique()
    if total < least_for_infinity(width):
        raise ValueError(f"FID-infinity from {total} samples of {width} features: too few")
    generator = torch.Generator().manual_seed(seed)
    distances = []
    for size in sizes.tolist():
        index = torch.randperm(total, generator=generator)[:size].to(features.device)
        distances.append(frechet_distance(Moments.of(features[index]), reference))
    design = torch.stack([torch.ones(len(sizes)), 1 / sizes], dim=1).double()
    line = torch.linalg.lstsq(design, torch.tensor(distances, dtype=torch.float64)[:, None]).solution
    return float(line[0])
