"""Learning-rate schedules: a factor on each optimizer's learning rate, as a pure function of the step.

Each takes the number of completed steps and the total number of steps, and returns the factor. A pure function needs
no state, so a resumed run has the learning rate of an uninterrupted one. `warmup_steps`: over this many first steps
the factor also rises linearly from near 0 to 1.
"""

import math
from collections.abc import Sequence


def constant(step: int, total: int, warmup_steps: int = 0) -> float:
    """The factor 1."""
    return _warmup(step, warmup_steps)


def cosine(step: int, total: int, warmup_steps: int = 0, final: float = 0.0) -> float:
    """The factor falls from 1 to `final` along half a cosine (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return _warmup(step, warmup_steps) * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _done(step, total))))


def linear(step: int, total: int, warmup_steps: int = 0, start: float = 0.0, final: float = 0.0) -> float:
    """The factor is 1 until the fraction `start` of the steps, then changes linearly to `final` at the end."""
    done = max((_done(step, total) - start) / (1 - start), 0.0)
    return _warmup(step, warmup_steps) * (1 + (final - 1) * done)


def step(
    step: int, total: int, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1, warmup_steps: int = 0
) -> float:
    """The factor is multiplied by `gamma` at each milestone.

    A milestone of at most 1 is a fraction of the training, a larger one a number of steps.
    """
    passed = sum(step >= (point * total if point <= 1 else point) for point in milestones)
    return _warmup(step, warmup_steps) * gamma**passed


def geometric(
    step: int, total: int, stages: int = 8, growth: float = 3.0, final: float = 0.1, warmup_steps: int = 0
) -> float:
    """The factor is final^(i / (stages - 1)) in stage i = 0, 1, ...; a stage is `growth` times as long as the last.

    The defaults are those of Burda et al. 2016, sec. 5: 3^i epochs at 10^(-i/7) for i = 0 ... 7, in all 3,280 epochs.
    """
    unit = total / sum(growth**i for i in range(stages))
    ends = (unit * sum(growth**i for i in range(stage + 1)) for stage in range(stages - 1))
    stage = sum(step >= end - 1e-6 for end in ends)  # 1e-6: an end that is a whole step may be rounded
    return _warmup(step, warmup_steps) * final ** (stage / (stages - 1))


def _done(step: int, total: int) -> float:
    return min(step / max(total, 1), 1.0)


def _warmup(step: int, warmup_steps: int) -> float:
    return min((step + 1) / (warmup_steps + 1), 1.0)
