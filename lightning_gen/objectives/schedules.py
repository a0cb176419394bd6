"""Numbers that change during training, as pure functions of how far it has come.

`Schedule` is a number as a function of the real images seen. Any number of a model or of an optimizer, and the
half-life of the average of the weights, can be one. The functions below it are factors on all learning rates over a
whole run, whatever its length: each takes the number of completed steps and the total number of steps.
`warmup_steps`: over this many first steps the factor also rises linearly from near 0 to 1.

A pure function needs no state, so a resumed run has the values of an uninterrupted one.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from lightning_gen.errors import UserError
from lightning_gen.ranges import NonNegative

Shape = Literal["linear", "cosine", "geometric", "step"]
SHAPES: dict[Shape, Callable[[float, float, float], float]] = {  # from a to b at the part t of the way
    "linear": lambda a, b, t: a + (b - a) * t,
    "cosine": lambda a, b, t: b + (a - b) * 0.5 * (1 + math.cos(math.pi * t)),
    "geometric": lambda a, b, t: a * (b / a) ** t,
    "step": lambda a, b, t: a,
}


@dataclass(frozen=True)
class Schedule:
    """A number as a function of the real images seen, over all devices, before the current step.

    It is `values[i]` at `images[i]`, and constant before the first and after the last of these points. Between two
    points it follows `shape`: `linear`, half a `cosine` (Loshchilov & Hutter 2017, eq. 5), `geometric` (linear in the
    logarithm), or `step`, which keeps the value of the point before.

    Args:
        values: the values at the points.
        images: when they are reached; increasing.
        shape: how it changes between them.
        repeat: start again from 0 images at the last point.

    Raises:
        UserError: not one value for each point, points that do not increase, or a geometric change from or to 0.
    """

    values: list[float]
    images: list[NonNegative]
    shape: Shape = "linear"
    repeat: bool = False

    def __post_init__(self) -> None:
        if len(self.values) != len(self.images) or not self.values:
            raise UserError(f"a schedule needs a value for each point: values={self.values}, images={self.images}.")
        if any(a >= b for a, b in zip(self.images, self.images[1:], strict=False)):
            raise UserError(f"the points of a schedule must increase: images={self.images}.")
        if self.shape == "geometric" and min(self.values) <= 0:
            raise UserError(f"a schedule of shape=geometric needs values above 0: values={self.values}.")

    def __call__(self, seen: int) -> float:
        """The value after `seen` images."""
        at = seen % self.images[-1] if self.repeat else seen
        after = bisect_right(self.images, at)
        if after in (0, len(self.images)):
            return self.values[max(after - 1, 0)]
        start, end = self.images[after - 1 : after + 1]
        return SHAPES[self.shape](self.values[after - 1], self.values[after], (at - start) / (end - start))


def is_schedule(node: Any) -> bool:
    """Whether a part of a config is the arguments of a `Schedule`."""
    return isinstance(node, Mapping) and {"values", "images"} <= node.keys()


def parsed(node: Any) -> Any:
    """The same number or list of numbers, with a `Schedule` in place of each of its configs."""
    if is_schedule(node):
        return Schedule(**node)
    return [parsed(part) for part in node] if isinstance(node, list | tuple) else node


def value_at(number: Any, seen: int) -> Any:
    """A number, or a list of numbers, after `seen` images: each schedule in it becomes its value."""
    if isinstance(number, list | tuple):
        return [value_at(part, seen) for part in number]
    return number(seen) if isinstance(number, Schedule) else number


def constant(step: int, total: int, warmup_steps: int = 0) -> float:
    """The factor 1."""
    return _warmup(step, warmup_steps)


def cosine(step: int, total: int, warmup_steps: int = 0, final: float = 0.0) -> float:
    """The factor falls from 1 to `final` along half a cosine (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return _warmup(step, warmup_steps) * SHAPES["cosine"](1.0, final, _done(step, total))


def linear(step: int, total: int, warmup_steps: int = 0, start: float = 0.0, final: float = 0.0) -> float:
    """The factor is 1 until the fraction `start` of the steps, then changes linearly to `final` at the end."""
    done = max((_done(step, total) - start) / (1 - start), 0.0)
    return _warmup(step, warmup_steps) * SHAPES["linear"](1.0, final, done)


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
    stage = bisect_right(_ends_of_stages(total, stages, growth), step)
    return _warmup(step, warmup_steps) * final ** (stage / max(stages - 1, 1))


@lru_cache(maxsize=8)
def _ends_of_stages(total: int, stages: int, growth: float) -> tuple[float, ...]:
    """The steps at which all stages but the last end."""
    unit = total / sum(growth**i for i in range(stages))
    ends = [unit * sum(growth**i for i in range(stage + 1)) for stage in range(stages - 1)]
    return tuple(end - 1e-6 for end in ends)  # an end that is a whole step may be rounded


def _done(step: int, total: int) -> float:
    return min(step / max(total, 1), 1.0)


def _warmup(step: int, warmup_steps: int) -> float:
    return min((step + 1) / (warmup_steps + 1), 1.0)
