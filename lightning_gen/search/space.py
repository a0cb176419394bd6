"""The space of a search, read from Hydra's own syntax for sweeps."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lightning_gen.errors import UserError
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import Run

Space = dict[str, BaseDistribution]


def read_space(params: Mapping[str, Any], arguments: Sequence[str]) -> tuple[Space, list[str]]:
    """The space of a search, and the overrides that are the same in all trials.

    Args:
        params: keys or groups and their values: `interval(a, b)`, `int(interval(a, b))`, `range(a, b, step)` without
            its end, `choice(x, y)` or `x, y`, each also with `tag(log, ...)`; a single value is a fixed override.
        arguments: the overrides of the command line; those with several values replace or extend `params`.

    Raises:
        UserError: a value that is none of these, or no key has several values.
    """
    parser = OverridesParser.create()
    parsed: dict[str, Override] = {}
    for text in [f"{key}={value}" for key, value in params.items()] + list(arguments):
        override = parser.parse_override(text)
        parsed[str(override.key_or_group)] = override
    space = {key: _distribution(override) for key, override in parsed.items() if override.is_sweep_override()}
    if not space:
        raise UserError(
            "The search has no space: give keys several values, such as "
            "'model.optimizer.lr=tag(log,interval(1e-4,1e-2))', here or in hydra.sweeper.params of the sweep's file."
        )
    fixed = [str(override.input_line) for override in parsed.values() if not override.is_sweep_override()]
    return space, fixed


def _distribution(override: Override) -> BaseDistribution:
    value, name = override.value(), override.input_line
    if isinstance(value, IntervalSweep):
        start, end, log = value.start, value.end, "log" in value.tags
        assert start is not None
        assert end is not None
        if not start < end or (log and start <= 0):
            raise UserError(f"{name}: an interval needs a start below its end{', above 0' if log else ''}.")
        if isinstance(start, int) and isinstance(end, int):
            return IntDistribution(start, end, log=log)
        return FloatDistribution(float(start), float(end), log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        values = list(value.range())
        if all(isinstance(v, int) for v in values) and "log" not in value.tags and len(values) > 1:
            return IntDistribution(values[0], values[-1], step=max(1, values[1] - values[0]))
    choices: list[CategoricalChoiceType] = list(override.sweep_string_iterator())
    if len(set(choices)) < 2:
        raise UserError(f"{name}: a search needs at least two different values.")
    return CategoricalDistribution(list(dict.fromkeys(choices)))


def logarithmic_keys(run: Path) -> set[str]:
    """The keys that the search of this run directory varies on a logarithmic scale; empty if there is no search."""
    for folder in list(run.parents)[:2]:
        record = folder / "multirun.yaml"
        if record.is_file():
            hydra = OmegaConf.load(record).hydra
            params: Any = OmegaConf.select(hydra, "sweeper.params") or {}
            with suppress(UserError):  # a grid of Hydra's, whose values may all be single
                space, _ = read_space(params, list(hydra.overrides.task))
                return {key for key, distribution in space.items() if getattr(distribution, "log", False)}
    return set()


def as_overrides(params: Mapping[str, Any]) -> list[str]:
    """The overrides of a trial's values."""
    return [f"{key}={value}" for key, value in params.items()]


def values_of_run(path: Path, space: Space) -> dict[str, Any]:
    """The values that an earlier run has for the keys of a space; keys without a value in the space are left out.

    Raises:
        UserError: there is no run at that path.
    """
    run = Run.load(path)
    typed = dict(text.lstrip("+").split("=", 1) for text in saved_overrides(run.path) if "=" in text)
    found: dict[str, Any] = {}
    for key, distribution in space.items():
        value = typed.get(key, OmegaConf.select(run.config, key.replace("/", ".")))
        if isinstance(distribution, CategoricalDistribution):
            value = next((choice for choice in distribution.choices if str(choice) == str(value)), None)
        else:
            value = _number(value, distribution)
        if value is not None and distribution._contains(distribution.to_internal_repr(value)):
            found[key] = value
    return found


def _number(value: Any, distribution: BaseDistribution) -> int | float | None:
    try:
        return int(value) if isinstance(distribution, IntDistribution) else float(value)
    except (TypeError, ValueError):
        return None
