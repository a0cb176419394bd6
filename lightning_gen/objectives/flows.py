"""Normalizing flows: invertible maps of latents [..., Z], with the log-determinant of the Jacobian [...]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.networks.made import MADE
from lightning_gen.networks.precision import full_precision


class Autoregressive(nn.Module):
    """y_i = s_i x_i + m_i with s_i, m_i functions of x_1 ... x_{i-1} (Kingma et al. 2016, eq. 10; Papamakarios 2017).

    The forward map takes one pass through the network, the inverse Z passes. A posterior uses the map from noise to
    latents, a prior from latents to noise. log s is bounded to +-`LIMIT`. Network outputs of 0 give log s = 0 and
    m = 0, so the map starts near the identity.
    """

    LIMIT = 3.0

    def __init__(self, dim: int, widths: Sequence[int], context: int = 0, direct: bool = True) -> None:
        super().__init__()
        self.net = MADE(dim, widths, outputs=2, context=context, direct=direct)

    def _shift_and_log_scale(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, raw = full_precision(self.net(x, context)).unbind(dim=-2)
        return mean, self.LIMIT * torch.tanh(raw / self.LIMIT)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y [..., Z] and log |det dy/dx| [...]."""
        mean, log_scale = self._shift_and_log_scale(x, context)
        return log_scale.exp() * x + mean, log_scale.sum(dim=-1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x [..., Z], computed one dimension after the other."""
        x = torch.zeros_like(y)
        for i in range(y.shape[-1]):
            mean, log_scale = (part[..., i] for part in self._shift_and_log_scale(x, context))
            known = (y[..., i] - mean) * (-log_scale).exp()
            x = torch.cat([x[..., :i], known.unsqueeze(-1), x[..., i + 1 :]], dim=-1)
        return x


class AutoregressiveStack(nn.Module):
    """`steps` autoregressive maps in sequence, with the order of the dimensions reversed between them."""

    def __init__(self, dim: int, steps: int, widths: Sequence[int], context: int = 0, direct: bool = True) -> None:
        super().__init__()
        self.steps = nn.ModuleList([Autoregressive(dim, widths, context, direct) for _ in range(steps)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y [..., Z] and log |det dy/dx| [...]."""
        log_det = x.new_zeros(x.shape[:-1])
        for step in self.steps:
            x, change = step(x.flip(-1), context)
            log_det = log_det + change
        return x, log_det

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x [..., Z]."""
        for step in reversed(self.steps):
            assert isinstance(step, Autoregressive)
            y = step.inverse(y, context).flip(-1)
        return y


LEAST_NORMAL = 1e-8  # a planar map's correction divides by |w|^2, which is bounded below by this


def planar(x: Tensor, direction: Tensor, normal: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """y = x + u tanh(w x + b) [..., Z] and its log-determinant [...] (Rezende & Mohamed 2015, eq. 10 to 12).

    u is `direction` [..., Z], w is `normal` [..., Z] and b is `offset` [..., 1]. u is first corrected along w so that
    w u > -1, which makes the map invertible. The determinant is 1 + w u (1 - h^2) = h^2 + (1 + w u) (1 - h^2) with
    h = tanh(w x + b). It is computed from 1 + w u = softplus(the given w u), which is positive even where w u itself
    rounds to -1.
    """
    direction, gap = _invertible(direction, normal)
    hidden = torch.tanh((normal * x).sum(dim=-1, keepdim=True) + offset)
    squared = hidden.square()
    determinant = (squared + gap * (1 - squared)).clamp_min(torch.finfo(x.dtype).tiny)
    return x + direction * hidden, determinant.log().squeeze(-1)


def invertible(direction: Tensor, normal: Tensor) -> Tensor:
    """The corrected direction u + (m(w u) - w u) w / |w|^2 with m(a) = -1 + softplus(a).

    Source: Rezende & Mohamed 2015, app. A.1.
    """
    return _invertible(direction, normal)[0]


def _invertible(direction: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """The corrected direction u [..., Z], see `invertible`, and its 1 + w u [..., 1]."""
    product = (normal * direction).sum(dim=-1, keepdim=True)
    above, square = F.softplus(product), normal.square().sum(dim=-1, keepdim=True)
    safe = square.clamp_min(LEAST_NORMAL)
    moved = square / safe  # 1, except for normals near 0
    return direction + (above - 1 - product) * normal / safe, moved * above + (1 - moved) * (1 + product)


def planar_inverse(y: Tensor, direction: Tensor, normal: Tensor, offset: Tensor, steps: int = 60) -> Tensor:
    """x [..., Z] with planar(x) = y, by bisection: a + w u tanh(a + b) = w y increases with a = w x."""
    direction = invertible(direction, normal)
    product = (normal * direction).sum(dim=-1, keepdim=True)
    target = (normal * y).sum(dim=-1, keepdim=True)
    low, high = target - product.abs() - 1e-6, target + product.abs() + 1e-6
    for _ in range(steps):
        middle = (low + high) / 2
        below = middle + product * torch.tanh(middle + offset) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return y - direction * torch.tanh((low + high) / 2 + offset)
