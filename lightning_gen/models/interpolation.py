"""Paths between codes."""

import torch
from torch import Tensor

STRAIGHT = 1e-4  # sine of the angle below which two directions count as equal or opposite


def along_line(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Codes [B, steps, Z] at equal distances on the straight lines from `start` to `end` [B, Z]."""
    return torch.lerp(start.unsqueeze(1), end.unsqueeze(1), _weights(start, steps))


def along_sphere(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Codes [B, steps, Z] on great circles from `start` to `end` [B, Z]: slerp (Shoemake 1985), for a normal prior.

    Draws from N(0, I) in many dimensions have nearly equal norms, and the middle of a straight line between two of
    them has a norm that the prior does not give (White 2016). Here the direction turns at a constant rate, and the
    norm changes linearly from that of `start` to that of `end`. Between opposite directions the path is straight.
    """
    t = _weights(start, steps)
    tiny = torch.finfo(start.dtype).tiny
    start, end = start.unsqueeze(1), end.unsqueeze(1)
    start_norm, end_norm = (side.norm(dim=2, keepdim=True) for side in (start, end))  # [B, 1, 1]
    first, last = start / start_norm.clamp(min=tiny), end / end_norm.clamp(min=tiny)
    angle = (first * last).sum(dim=2, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / sine.clamp(min=STRAIGHT)
    direction = torch.where(sine < STRAIGHT, torch.lerp(first, last, t), turned)
    return torch.lerp(start_norm, end_norm, t) * direction


def _weights(codes: Tensor, steps: int) -> Tensor:
    return torch.linspace(0, 1, steps, device=codes.device, dtype=codes.dtype).view(1, -1, 1)
