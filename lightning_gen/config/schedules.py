"""Numbers of the config that are schedules: `model.objective.beta={values: [0, 1], images: [0, 128000]}`.

A model is built with the values at the start. Then the numbers follow their schedules (models/steps.py): those of an
optimizer as entries of its parameter groups, all others as attributes of the built objects, which have the same names
as the config keys.
"""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from lightning_gen.config.types import fits, hints, in_words
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.objectives.schedules import Schedule, is_schedule, parsed, value_at


def has_schedule(node: Any) -> bool:
    """Whether a number, or a number in a list, is a schedule."""
    return is_schedule(node) or (isinstance(node, list) and any(map(has_schedule, node)))


def split_schedules(node: Any, path: str = "") -> tuple[Any, dict[str, Any]]:
    """The tree with each schedule's first value in its place, and the scheduled numbers by their dotted keys.

    Those of an optimizer are not among the latter: its node becomes one that builds a `scheduled_optimizer`.
    """
    if has_schedule(node):
        number = parsed(node)
        return value_at(number, 0), {path: number}
    if not isinstance(node, dict):
        return node, {}
    parts = {key: split_schedules(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
    tree = {key: part for key, (part, _) in parts.items()}
    found = {key: number for _, (_, numbers) in parts.items() for key, number in numbers.items()}
    if found and path.endswith("optimizer") and node.get("_partial_"):
        own = {key: node[key] for key in node if has_schedule(node[key])}
        target = f"{__name__}.{scheduled_optimizer.__name__}"
        return {"_target_": target, "_partial_": True, "make": tree, "numbers": own}, {}
    return tree, found


def scheduled_optimizer(parameters: Any, make: Callable[..., Optimizer], numbers: dict[str, Any]) -> Optimizer:
    """An optimizer of these parameters; `scheduled` holds those of its numbers that follow schedules."""
    optimizer = make(parameters)
    optimizer.scheduled = {name: parsed(number) for name, number in numbers.items()}  # type: ignore[attr-defined]
    return optimizer


def check_schedule(number: Any, kind: Any, path: str) -> None:
    """Check the schedules in a number or list of numbers, and that all their values fit the type of the key.

    Raises:
        UserError: a key that does not change during training, an argument of a schedule that is wrong, or a value
            outside of the key's range. No schedule fits a whole number.
    """
    if not (path.startswith("model.") or path == "ema.half_life"):
        raise UserError(
            f"{path} cannot be a schedule: only numbers of model and ema.half_life change during training."
        )
    nodes = [node for node in (number if isinstance(number, list) else [number]) if is_schedule(node)]
    allowed = hints(Schedule)
    for key, value in ((key, value) for node in nodes for key, value in node.items()):
        if key not in allowed:
            raise UserError(f"There is no config key {path + '.' + key!r}.{did_you_mean(key, allowed)}")
        if not fits(value, allowed[key]):
            raise UserError(f"{path}.{key}={value} must be {in_words(allowed[key])}.")
    for point in sorted({point for node in nodes for point in parsed(node).images}):
        now = value_at(parsed(number), int(point))
        if not fits(now, kind):
            raise UserError(f"{path}={now} after {point:,.0f} images must be {in_words(kind)}.")
