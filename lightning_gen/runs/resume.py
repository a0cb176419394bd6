"""resume=RUN: the saved config with new overrides on top, and what these may not change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.runs.comparison import flat
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import Run
from lightning_gen.runs.trust import check_targets, literal
from lightning_gen.runs.upgrade import renamed, upgraded, with_objective_group, with_schedules

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_gen.data.tables import TableSchema

# Keys that may not change: with another value it would be another run.
FIXED = ("seed", "id", "conditional", "num_classes", "encoder_from", "model.name", "model._target_")
HYDRAS = re.compile(r"[+~]*hydra[./@=]")  # overrides of Hydra itself, which are never taken from a run directory
OPTIMIZER_CLASS = r"model\.\w*optimizer\._target_"  # the saved state would not fit another class
HALF_WEIGHTS = ("16-true", "bf16-true", "64-true", "transformer-engine")  # precisions of the weights themselves


def keys_of(overrides: list[str]) -> set[str]:
    """The keys and groups that these overrides set."""
    return {o.key_or_group for o in OverridesParser.create().parse_overrides(overrides) if o.key_or_group}


def overrides_of(run: Path, new: list[str]) -> list[str]:
    """The overrides that the run was started with or resumed with, without those that the new ones replace."""
    old = [renamed(override) for override in saved_overrides(run, resumed=True) if not HYDRAS.match(override)]
    old = with_schedules(with_objective_group(old))
    taken = keys_of([argument for argument in new if "=" in argument and not argument.startswith("-")])
    return [o for o in old if not keys_of([o]) & (taken | {"resume"})]


def resumed_config(composed: DictConfig, directory: Path, overrides: list[str]) -> DictConfig:
    """The saved config of the run, with the changes that the new overrides make.

    The changes are the differences between the config composed with the old overrides and with the new ones. So a
    saved value stays even if a default has changed since. The old ones are those of the last resume. A job that is
    begun again, without `resume`, has those that it was started with, and goes on as the run is now.

    Raises:
        UserError: a change that resume does not allow, or a name that is not trusted.
    """
    saved = Run.load(directory).config
    saved.resume, saved.command = str(directory), literal(composed.command)
    own, given = overrides_of(directory, []), [o for o in overrides if not o.startswith("resume=")]
    again = len(given) == len(overrides) and sorted(saved_overrides(directory)) == sorted(given)
    if again or sorted(own) == sorted(given):
        return saved
    before = _plain(upgraded(compose(own)))  # as the saved config, so that only what is new differs
    after = _plain(upgraded(composed))
    changed = {key: after[key] for key in after if after[key] != before.get(key) and key not in ("resume", "command")}
    for key, node in changed.items():
        saved[key] = _merge(OmegaConf.to_container(saved).get(key), before.get(key), node)  # type: ignore[union-attr]
    check_fixed(Run.load(directory).config, saved)
    check_targets(_plain(saved), directory)
    return saved


def check_fixed(before: DictConfig, after: DictConfig) -> None:
    """Check that no key has changed that would make it another run.

    Raises:
        UserError: such a key has changed; the message names it.
    """
    old, new = (flat(_plain(config)) for config in (before, after))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and (key in FIXED or re.fullmatch(OPTIMIZER_CLASS, key)):
            raise UserError(
                f"resume cannot change {key} from {old.get(key)} to {new.get(key)}: start a new run for that."
            )
    precision = [str(config.get("trainer.precision")) for config in (old, new)]
    if precision[0] != precision[1] and any(name in HALF_WEIGHTS for name in precision):
        raise UserError(f"resume cannot change trainer.precision from {precision[0]} to {precision[1]}.")


def check_steps(max_steps: int, made: int) -> None:
    """Raise a UserError if a run has already made more training steps than it now shall."""
    if 0 <= max_steps < made:
        raise UserError(
            f"trainer.max_steps={max_steps} is less than the {made} steps that the run has made: set it to more, or "
            "leave it out."
        )


def check_checkpoint(
    image_shape: Sequence[int],
    weights: Mapping[str, Tensor],
    state: dict[str, Any],
    table: TableSchema | None = None,
) -> None:
    """Check that the `state` of a checkpoint fits these images or rows, and the names and shapes of weights.

    Raises:
        UserError: it does not; the message names the first difference.
    """
    advice = "leave out the overrides that change the model or its images, or start a new run."
    if list(image_shape) != state["image_shape"]:
        was, now = ("x".join(map(str, shape)) for shape in (state["image_shape"], image_shape))
        raise UserError(f"resume: the run was trained on images of {was}, but these are {now}: {advice}")
    if state.get("table") != (None if table is None else table.to_dict()):
        raise UserError(
            "resume: the columns of the table, or their training rows, are not those that the run was trained on: "
            "restore the file, or start a new run."
        )
    saved = state["state_dict"]
    for name in sorted(saved.keys() | weights.keys()):
        there, here = (list(part[name].shape) if name in part else "missing" for part in (saved, weights))
        if there != here:
            raise UserError(f"resume: {name} is {there} in the checkpoint and {here} in this model: {advice}")


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _merge(saved: Any, before: Any, after: Any) -> Any:
    """`after` where it differs from `before`, otherwise `saved`; keys that are not in `after` are dropped."""
    if not (isinstance(saved, dict) and isinstance(before, dict) and isinstance(after, dict)):
        return saved if before == after else after
    return {key: _merge(saved.get(key, after[key]), before.get(key), after[key]) for key in after}
