"""Densities of codes that are learned by gradient descent: a normalizing flow and a second-stage VAE."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.models.latent_density import Density
from lightning_gen.networks.mlp import perceptron
from lightning_gen.objectives.divergences import gaussian_kl
from lightning_gen.objectives.schedules import cosine

SMALLEST = 1e-6  # a dimension with a smaller standard deviation, relative to the largest, is a constant


class LearnedDensity(Density):
    """Standardizes codes and minimizes a loss with Adam and a cosine schedule.

    All random numbers come from the seed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, noise_dim: int, steps: int, batch_size: int, lr: float) -> None:
        super().__init__(noise_dim)
        self.steps, self.batch_size, self.lr = steps, batch_size, lr
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @abstractmethod
    def loss(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """The loss [B], in nats, of standardized codes [B, Z]; random numbers come from the CPU generator."""

    @torch.enable_grad()
    def fit(self, codes: Tensor, seed: int = 0) -> None:
        codes = codes.to(self.mean)
        std = codes.std(dim=0, correction=0)
        self.mean.copy_(codes.mean(dim=0))
        self.std.copy_(std.clamp_min(SMALLEST * float(std.max()) or 1.0))
        codes = (codes - self.mean) / self.std
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        self.requires_grad_(True)
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * cosine(step, self.steps)
            chosen = torch.randint(len(codes), (self.batch_size,), generator=generator)
            optimizer.zero_grad()
            self.loss(codes[chosen.to(codes.device)], generator).mean().backward()
            nn.utils.clip_grad_norm_(self.parameters(), 10.0)
            optimizer.step()
        self.requires_grad_(False)

    def forward(self, normal: Tensor, uniform: Tensor) -> Tensor:
        return self.mean + self.std * self.standardized(normal)

    @abstractmethod
    def standardized(self, normal: Tensor) -> Tensor:
        """Standardized codes [N, Z] from N(0, I) noise [N, noise_dim]."""


class Coupling(nn.Module):
    """Affine coupling: y = x on one half of the dimensions and y = x exp(s) + t on the other.

    s, in (-2, 2), and t are functions of the first half. It starts as the identity. Source: Dinh et al. 2017, eq.
    7-8.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.net = perceptron([len(mask), width, width, 2 * len(mask)], "silu")
        nn.init.zeros_(self.net[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.net[-1].bias)  # type: ignore[arg-type]

    def scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s and t [N, Z], which are 0 on the half that stays unchanged."""
        scale, shift = self.net(x * self.mask).chunk(2, dim=1)
        return 2 * (scale / 2).tanh() * (1 - self.mask), shift * (1 - self.mask)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y [N, Z] and log |det dy/dx| [N]."""
        scale, shift = self.scale_and_shift(x)
        return x * scale.exp() + shift, scale.sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(y)
        return (y - shift) * (-scale).exp()


class CouplingFlow(LearnedDensity):
    """RealNVP (Dinh et al. 2017): affine couplings on random halves of the dimensions and on their complements.

    The halves depend on the number of dimensions only.
    """

    def __init__(
        self,
        dim: int,
        couplings: int = 8,
        width: int = 96,
        steps: int = 2000,
        batch_size: int = 500,
        lr: float = 2e-3,
    ) -> None:
        super().__init__(dim, dim, steps, batch_size, lr)
        generator, halves = torch.Generator().manual_seed(dim), []
        for _ in range(0, couplings, 2):
            half = torch.zeros(dim)
            half[torch.randperm(dim, generator=generator)[: dim // 2]] = 1
            halves += [half, 1 - half]
        self.couplings = nn.ModuleList(Coupling(half, width) for half in halves)

    def normalize(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Noise [N, Z] and log |det| [N] from standardized codes [N, Z]."""
        total = torch.zeros_like(codes[:, 0])
        for coupling in self.couplings:
            codes, log_det = coupling(codes)
            total = total + log_det
        return codes, total

    def standardized(self, normal: Tensor) -> Tensor:
        for coupling in list(self.couplings)[::-1]:
            assert isinstance(coupling, Coupling)
            normal = coupling.inverse(normal)
        return normal

    def loss(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        return -self._log_prob(codes)

    def _log_prob(self, codes: Tensor) -> Tensor:
        noise, log_det = self.normalize(codes)
        return -0.5 * (noise.square() + math.log(2 * math.pi)).sum(dim=1) + log_det

    def log_prob(self, codes: Tensor) -> Tensor:
        """log p of codes [N, Z]: [N], in nats."""
        return self._log_prob((codes - self.mean) / self.std) - self.std.log().sum()


class SkipMLP(nn.Module):
    """Hidden layers with ReLU on values [N, D], then a linear layer on their output and the values: [N, outputs]."""

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.hidden = perceptron([inputs, *widths], "relu")
        self.out = nn.Linear(widths[-1] + inputs, outputs)

    def forward(self, values: Tensor) -> Tensor:
        return self.out(torch.cat([self.hidden(values).relu(), values], dim=1))


class SecondStageVAE(LearnedDensity):
    """A VAE of codes with as many latents as a code has dimensions and one learned sigma (Dai & Wipf 2019, sec. 4).

    A code is drawn from p(z|u) = N(mu(u), sigma^2 I) with u ~ N(0, I), so it needs 2 Z random numbers.
    """

    LEAST_LOG_SIGMA = -5.0

    def __init__(
        self,
        dim: int,
        widths: Sequence[int] = (256, 256, 256),
        steps: int = 3000,
        batch_size: int = 500,
        lr: float = 1e-3,
    ) -> None:
        super().__init__(dim, 2 * dim, steps, batch_size, lr)
        self.encoder, self.decoder = SkipMLP(dim, widths, 2 * dim), SkipMLP(dim, widths, dim)
        self.raw_sigma = nn.Parameter(torch.tensor(-self.LEAST_LOG_SIGMA))  # sigma starts near 1

    @property
    def log_sigma(self) -> Tensor:
        return self.LEAST_LOG_SIGMA + F.softplus(self.raw_sigma)

    def loss(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_variance = self.encoder(codes).chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 20)
        epsilon = torch.randn(mean.shape, generator=generator).to(mean)
        error = (codes - self.decoder(mean + (0.5 * log_variance).exp() * epsilon)) * (-self.log_sigma).exp()
        log_prob = (-0.5 * error.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)).sum(dim=1)
        return gaussian_kl(mean, log_variance) - log_prob

    def standardized(self, normal: Tensor) -> Tensor:
        latents, noise = normal.chunk(2, dim=1)
        return self.decoder(latents) + self.log_sigma.exp() * noise
