"""resume=RUN: the run's own config, with whatever overrides are given on top."""

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.compose import compose
from lightning_gen.runs.run import Run
from lightning_gen.runs.upgrade import renamed, with_objective_group


def keys_of(overrides: list[str]) -> set[str]:
    """The keys and groups that these overrides name."""
    return {o.key_or_group for o in OverridesParser.create().parse_overrides(overrides) if o.key_or_group}


def overrides_of(run: Path, new: list[str]) -> list[str]:
    """The overrides that the run was started with, without those that are given anew."""
    file = run / ".hydra" / "overrides.yaml"
    old = [renamed(str(o)) for o in OmegaConf.load(file)] if file.exists() else []
    old = with_objective_group(old)
    taken = keys_of([argument for argument in new if "=" in argument and not argument.startswith("-")])
    return [o for o in old if not keys_of([o]) & (taken | {"resume"})]


def resumed_config(composed: DictConfig, directory: Path, overrides: list[str]) -> DictConfig:
    """The run's saved config, changed where its overrides with the new ones compose to something else than without.

    So a value that was saved stays, even if the defaults have changed since.
    """
    saved = Run.load(directory).config
    saved.resume, saved.command = str(directory), composed.command
    own = overrides_of(directory, [])
    if sorted(own) == sorted(o for o in overrides if not o.startswith("resume=")):
        return saved
    before = _plain(compose(own))
    after = _plain(composed)
    changed = {key: after[key] for key in after if after[key] != before.get(key) and key not in ("resume", "command")}
    for key, node in changed.items():
        saved[key] = _merge(OmegaConf.to_container(saved).get(key), before.get(key), node)  # type: ignore[union-attr]
    return saved


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _merge(saved: Any, before: Any, after: Any) -> Any:
    """`after` where it differs from `before`, `saved` elsewhere; keys that the change removed are gone."""
    if not (isinstance(saved, dict) and isinstance(before, dict) and isinstance(after, dict)):
        return saved if before == after else after
    return {key: _merge(saved.get(key, after[key]), before.get(key), after[key]) for key in after}
