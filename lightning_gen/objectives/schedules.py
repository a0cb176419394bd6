"""Learning-rate schedules: the factor on each optimizer's learning rate, a pure function of the step.

Each takes how many steps are done and how many there are in all, and gives a factor; so a run resumes with the
rate that it would have had. `warmup_steps`: the factor first rises linearly from 0.
"""

import math
from collections.abc import Sequence


def constant(step: int, total: int, warmup_steps: int = 0) -> float:
    """1."""
    return _warmup(step, warmup_steps)


def cosine(step: int, total: int, warmup_steps: int = 0, final: float = 0.0) -> float:
    """From 1 to `final` along half a cosine (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return _warmup(step, warmup_steps) * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _done(step, total))))


def linear(step: int, total: int, warmup_steps: int = 0, start: float = 0.0, final: float = 0.0) -> float:
    """1 up to the fraction `start` of the steps, from there straight to `final` at the end."""
    done = max((_done(step, total) - start) / (1 - start), 0.0)
    return _warmup(step, warmup_steps) * (1 + (final - 1) * done)


def step(
    step: int, total: int, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1, warmup_steps: int = 0
) -> float:
    """Times `gamma` at each milestone; milestones up to 1 are fractions of the training, others are steps."""
    passed = sum(step >= (point * total if point <= 1 else point) for point in milestones)
    return _warmup(step, warmup_steps) * gamma**passed


def geometric(
    step: int, total: int, stages: int = 8, growth: float = 3.0, final: float = 0.1, warmup_steps: int = 0
) -> float:
    """final^(i / (stages - 1)) in stage i = 0, 1, ..., each `growth` times as long as the one before.

    As in Burda et al. 2016, sec. 5: 3^i epochs at 10^(-i/7), i = 0 ... 7, which are 3,280 epochs.
    """
    unit = total / sum(growth**i for i in range(stages))
    ends = (unit * sum(growth**i for i in range(stage + 1)) for stage in range(stages - 1))
    stage = sum(step >= end - 1e-6 for end in ends)  # a rounded end is its step still
    return _warmup(step, warmup_steps) * final ** (stage / (stages - 1))


def _done(step: int, total: int) -> float:
    return min(step / max(total, 1), 1.0)


def _warmup(step: int, warmup_steps: int) -> float:
    return min((step + 1) / (warmup_steps + 1), 1.0)
