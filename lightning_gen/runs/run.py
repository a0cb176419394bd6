"""A run directory: all that is needed to resume, evaluate and sample a run.

config.yaml           the complete config, resolved; .hydra/ holds the overrides
summary.json          metrics, best, progress, protocol, provenance, status
metrics.csv           every logged scalar against step and images_seen
samples/              grids: step_00001000.png; next to it reconstructions/ and interpolations/
checkpoints/          last.ckpt, previous.ckpt (the one before), step_00001000.ckpt (earlier ones), best.ckpt
"""

import json
import os
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers.oc import env

from lightning_gen.config.optimizers import check_classes, leave_out_foreign
from lightning_gen.data.words import IMAGES
from lightning_gen.errors import UserError
from lightning_gen.files import is_intact, locked, write_atomically
from lightning_gen.runs.records import OVERRIDES, RESUMED_WITH, read_config, read_summary
from lightning_gen.runs.trust import ENVIRONMENT, OWN_VARIABLES, check_targets, literal, without_environment
from lightning_gen.runs.upgrade import upgraded

LOCK = ".lock"  # held while a process trains in the directory
NAMES_OF_CHECKPOINTS = "use best, last, previous, step_STEP or a path"
COMPLETE = ("completed", "stopped early")  # statuses of runs that need no more training and have all results


class Run:
    """A run directory; `Run.create` makes a new one, `Run.load` opens an existing one."""

    def __init__(self, path: Path, config: DictConfig) -> None:
        self.path, self.config = path, config
        self.record: DictConfig | None = None  # the config for config.yaml and the loggers, if it differs
        self.overrides: list[str] | None = None  # of the command line, with those of the run that it resumes; or None
        self.rollbacks: list[dict[str, Any]] = []  # after divergences; `rollbacks` in summary.json
        self._lock: FileLock | None = None

    @classmethod
    def create(cls, path: Path, config: DictConfig) -> "Run":
        """A new run with this config, resolved. Nothing is written before `save`.

        `${oc.env:NAME}` is written as it is, so a secret that a config reads from the environment reaches neither the
        run directory nor a logger.

        Raises:
            UserError: an optimizer is not a group of keys.
        """
        check_classes(config)
        run = cls(path.resolve(), _resolved(config, with_environment=True))
        of_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        run.config.id = run.config.id or of_agent or uuid.uuid4().hex[:8]
        run.record = _resolved(config, with_environment=False)
        leave_out_foreign(run.record)
        for key in leave_out_foreign(run.config):
            print(f"note: {key} is left out: the chosen optimizer does not have it.", file=sys.stderr)
        return run

    @classmethod
    def load(cls, path: str | Path, own: bool = False) -> "Run":
        """Open a run directory, which may come from a stranger: see `runs/trust.py`.

        Args:
            path: the directory.
            own: the parent of this process has just written it, so that all that its config names is trusted.

        Raises:
            UserError: there is no readable run at that path, or its config names a class or function that is not
            trusted.
        """
        path = Path(path)
        config = read_config(path)
        tree = OmegaConf.to_container(upgraded(config))
        if own:
            saved = upgraded(config)
            run = cls(path.resolve(), _resolved(saved, with_environment=True))
            run.record = _resolved(saved, with_environment=False)
            return run
        check_targets(tree, path / "config.yaml")
        return cls(path.resolve(), OmegaConf.create(without_environment(tree)))

    def claim(self) -> None:
        """Lock the directory until this process ends, so that no other process trains in it.

        Raises:
            UserError: the directory contains another run, is locked by another process, or is not writable.
        """
        if not self.config.resume and (self.path / "config.yaml").exists():
            raise UserError(
                f"{self.path} already contains a run: continue it with resume='{self.path}', or choose another "
                f"hydra.run.dir."
            )
        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.path} is in use: another process is training in it.") from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be written to ({error.strerror}).") from error
        self._lock = lock

    def release(self) -> None:
        """Unlock the directory, and remove it if the run never began."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self.path.is_dir() and {p.name for p in self.path.iterdir()} <= {LOCK}:
            shutil.rmtree(self.path)

    def save(self) -> None:
        """Write config.yaml, the overrides and the status, and let `runs/latest` point here."""
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(self.recorded()))
        if self.overrides is not None:
            # After config.yaml: a process that reads both meanwhile makes the same changes again
            file = RESUMED_WITH if self.config.resume else OVERRIDES
            write_atomically(self.path / file, OmegaConf.to_yaml(self.overrides))
        self.write_summary(status="running")
        self._point_latest()

    def recorded(self) -> DictConfig:
        """The config as it is recorded: with what was filled in later, without values read from the environment."""
        if self.record is None:
            return self.config
        merged = _kept(OmegaConf.to_container(self.record), OmegaConf.to_container(self.config))
        return OmegaConf.create(merged)

    def _point_latest(self) -> None:
        """Update `runs/latest`, for runs below a folder runs/ where links are allowed."""
        root = runs_root(self.path)
        if root is None:
            return
        link, temporary = root / "latest", root / f".latest.{os.getpid()}"
        try:
            temporary.symlink_to(os.path.relpath(self.path, root))
            os.replace(temporary, link)
        except OSError:
            temporary.unlink(missing_ok=True)

    # -- its contents --------------------------------------------------------------------------------------

    def checkpoint_path(self, which: str) -> Path:
        """The path of the checkpoint `last`, `previous`, `best` or `step_STEP`, or the given path."""
        own = re.fullmatch(r"last|previous|best|step_\d+", which)
        return self.path / "checkpoints" / f"{which}.ckpt" if own else Path(which)

    def read_checkpoint(self, which: str = "last") -> dict[str, Any]:
        """Read a checkpoint to the CPU, with weights_only=True.

        Raises:
            UserError: the checkpoint is missing or unreadable.
        """
        import torch  # not at the top, because reading a config needs no torch

        path = self.checkpoint_path(which)
        try:
            if not is_intact(path):
                raise ValueError("it is damaged: its content does not match its checksum")
            return torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            why = (
                "the run has not saved one yet" if path.parent == self.path / "checkpoints" else NAMES_OF_CHECKPOINTS
            )
            raise UserError(f"There is no checkpoint at {path}: {why}.") from None
        except Exception as error:  # damaged files raise many kinds of errors
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"The checkpoint {path} cannot be read ({reason}): use another one.") from error

    def checkpoint_to_resume(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest intact checkpoint and its content, or None if the run was stopped before its first one.

        Raises:
            UserError: the checkpoints are missing or damaged.
        """
        last, best = self.checkpoint_path("last"), self.checkpoint_path("best")
        earlier = [self.checkpoint_path("previous"), *sorted(last.parent.glob("step_*.ckpt"), reverse=True)]
        if not any(path.exists() for path in (last, *earlier)):
            if not (best.exists() or self._has_trained()):
                return None
            raise UserError(f"{last} is missing, although the run has trained. {_from_best(best, last)}")
        failure = None
        for path in [last, *(path for path in earlier if path.exists())]:
            try:
                state = self.read_checkpoint(str(path))
            except UserError as error:
                failure = error
                continue
            if path != last:
                found = f"{last} is {'damaged' if last.exists() else 'missing'}"
                print(f"warning: {found}: resuming from {path}, step {state['global_step']}.", file=sys.stderr)
            return path, state
        raise UserError(f"{failure} {_from_best(best, last)}") from failure

    def _has_trained(self) -> bool:
        rows = self.path / "metrics.csv"
        logged = rows.read_text(encoding="utf-8").splitlines()[1:] if rows.is_file() else []
        steps = self.read_summary().get("progress", {}).get("step", 0)
        return bool(steps) or any(row.split(",")[0] not in ("", "0") for row in logged)

    def add_evaluation(self, entry: dict[str, Any], part: str = "evaluations") -> None:
        """Add `entry` to this part of summary.json, replacing the one with the same protocol if there is one.

        Two entries have the same protocol only if every number was measured in the same way, so nothing that was
        measured differently is lost.
        """
        entry = json.loads(json.dumps(entry, default=float))

        def add(summary: dict[str, Any]) -> dict[str, Any]:
            others = [one for one in summary.get(part, []) if one["protocol"] != entry["protocol"]]
            return summary | {part: [*others, entry]}

        self.change_summary(add)

    def read_summary(self) -> dict[str, Any]:
        """The content of summary.json, or {} if it does not exist.

        Raises:
            UserError: it cannot be read.
        """
        return read_summary(self.path)

    @property
    def unit(self) -> str:
        """What the run is trained on: `images`, `points` in the plane, or `rows` of a table."""
        return str(self.read_summary().get("unit", IMAGES))  # summaries of earlier versions do not say

    def write_summary(self, **parts: Any) -> dict[str, Any]:
        """Replace these parts of summary.json and keep the others."""
        return self.change_summary(lambda summary: summary | parts)

    def change_summary(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Replace summary.json by `change` of its content; other processes that write it wait.

        Raises:
            UserError: the run directory has been deleted.
        """
        path = self.path / "summary.json"
        check_exists(self.path)
        with locked(path):
            summary = change(self.read_summary())
            write_atomically(path, json.dumps(summary, indent=2, default=float) + "\n")
        return summary


def runs_root(run_dir: Path) -> Path | None:
    """The folder runs/ that a run directory is in; None if it is elsewhere."""
    return next((path for path in run_dir.parents if path.name == "runs"), None)


def check_exists(run_dir: Path) -> None:
    """Check that a run directory has not been deleted in the meantime, before a part of it is written again.

    Raises:
        UserError: it is not there any more.
    """
    if not (run_dir / "config.yaml").exists():
        raise UserError(f"{run_dir} has been deleted or moved: the run ends, and nothing more is saved.")


def _from_best(best: Path, last: Path) -> str:
    if not best.exists():
        return "Start a new run."
    return f"To resume from the best checkpoint: cp {shlex.quote(str(best))} {shlex.quote(str(last))}"


def _resolved(config: DictConfig, with_environment: bool) -> DictConfig:
    """Resolve all interpolations, with or without those of the environment, but never those of the command line."""
    if not with_environment:
        OmegaConf.register_new_resolver("oc.env", _as_written, replace=True)
    try:
        tree: Any = OmegaConf.to_container(config, resolve=True)
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)
    command = tree.get("command")
    tree["command"] = command if command is None else literal(command)
    return OmegaConf.create(tree)


def _as_written(name: str, *default: Any) -> Any:
    """Keep the interpolation of an environment variable as text, except for the package's own variables."""
    if name.startswith(OWN_VARIABLES):
        return env(name, *default)
    return "${oc.env:" + ",".join([name, *map(repr, default)]) + "}"


def _kept(record: Any, now: Any) -> Any:
    """`now`, but with those values of `record` that refer to the environment."""
    if isinstance(record, dict) and isinstance(now, dict):
        return {key: _kept(record.get(key), value) for key, value in now.items()}
    return record if isinstance(record, str) and ENVIRONMENT.search(record) else now
