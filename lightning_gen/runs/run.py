"""The directory of one experiment: everything that resuming, evaluating and sampling need.

config.yaml           everything resolved; .hydra/ holds the overrides
summary.json          metrics, best, progress, protocol, provenance, status
metrics.csv           every logged scalar against step and images_seen
samples/              grids: step_00001000.png; reconstructions/, interpolations/ beside it
checkpoints/          last.ckpt, best.ckpt
"""

import copy
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers.oc import env
from yaml import YAMLError

from lightning_gen.errors import UserError
from lightning_gen.files import write_atomically
from lightning_gen.runs.trust import ENVIRONMENT, OWN_VARIABLES, check_targets, literal, without_environment
from lightning_gen.runs.upgrade import upgraded

LOCK = ".lock"  # held while a process trains in the directory


class Run:
    """A run directory: `Run.create` for a new one, `Run.load` for one that is there."""

    def __init__(self, path: Path, config: DictConfig) -> None:
        self.path, self.config = path, config
        self.record: DictConfig | None = None  # the config as config.yaml and the loggers have it, if it differs
        self.overrides: list[str] = []  # that the command line gave
        self._lock: FileLock | None = None

    @classmethod
    def create(cls, path: Path, config: DictConfig) -> "Run":
        """A run of this config, resolved; nothing is written before `save`.

        What is written keeps `${oc.env:NAME}` as it stands: a secret that a config reads from the environment ends up
        neither in the run directory nor in a logger.
        """
        run = cls(path.resolve(), _resolved(config, with_environment=True))
        run.config.id = run.config.id or uuid.uuid4().hex[:8]
        run.record = _resolved(config, with_environment=False)
        return run

    @classmethod
    def load(cls, path: str | Path) -> "Run":
        """Open a run directory, which may be a stranger's: see `runs/trust.py`.

        Raises:
            UserError: there is no readable run at that path, or it calls what it may not.
        """
        path = Path(path)
        try:
            config = OmegaConf.load(path / "config.yaml")
        except FileNotFoundError:
            raise UserError(f"{path} is not a run directory: it has no config.yaml.") from None
        except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
            raise UserError(f"{path / 'config.yaml'} cannot be read: {str(error).splitlines()[0]}") from error
        assert isinstance(config, DictConfig)
        tree = OmegaConf.to_container(upgraded(config))
        check_targets(tree, path / "config.yaml")
        return cls(path.resolve(), OmegaConf.create(without_environment(tree)))

    def claim(self) -> None:
        """Hold the directory until this process ends, so that no other trains in it.

        Raises:
            UserError: it holds another run, another process is training in it, or it cannot be written to.
        """
        if not self.config.resume and (self.path / "config.yaml").exists():
            raise UserError(
                f"{self.path} holds a run already: go on with it by resume='{self.path}', or choose another "
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
        """Let other processes have the directory; of a run that never began, remove it if it is empty."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self.path.is_dir() and {p.name for p in self.path.iterdir()} <= {LOCK}:
            shutil.rmtree(self.path)

    def save(self) -> None:
        """Write config.yaml, the overrides and the status, and point `runs/latest` here."""
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(self.recorded()))
        if not self.config.resume:
            write_atomically(self.path / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(self.overrides))
        self.write_summary(status="running")
        self._point_latest()

    def recorded(self) -> DictConfig:
        """The config without what it reads from the environment, with what was filled in since it was composed."""
        if self.record is None:
            return self.config
        merged = _kept(OmegaConf.to_container(self.record), OmegaConf.to_container(self.config))
        return OmegaConf.create(merged)

    def _point_latest(self) -> None:
        """`runs/latest` for runs under runs/; elsewhere, and where links are not allowed, there is none."""
        root = next((p for p in self.path.parents if p.name == "runs"), None)
        if root is None:
            return
        link, temporary = root / "latest", root / f".latest.{os.getpid()}"
        try:
            temporary.symlink_to(os.path.relpath(self.path, root))
            os.replace(temporary, link)
        except OSError:
            temporary.unlink(missing_ok=True)

    # -- what lies in it -----------------------------------------------------------------------------------

    def checkpoint_path(self, which: str) -> Path:
        """The file of `last`, `best`, or of a path to a checkpoint."""
        return self.path / "checkpoints" / f"{which}.ckpt" if which in ("last", "best") else Path(which)

    def read_checkpoint(self, which: str = "last") -> dict[str, Any]:
        """The checkpoint on the CPU, read with weights_only=True.

        Raises:
            UserError: it is missing or unreadable.
        """
        import torch  # not at the top: reading a config needs no torch

        path = self.checkpoint_path(which)
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise UserError(f"There is no checkpoint at {path}: the run has not saved one yet.") from None
        except Exception as error:  # what torch raises for a damaged file depends on where it is damaged
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"The checkpoint {path} cannot be read ({reason}). Set resume to another run.") from error

    def add_evaluation(self, entry: dict[str, Any]) -> None:
        """Add `entry` to `evaluations` in summary.json, in place of the one by the same protocol if there is one.

        Two entries have the same protocol if each number in them was measured in the same way, in all but the
        time: nothing that was measured otherwise is lost.
        """
        entry = json.loads(json.dumps(entry, default=float))
        others = [one for one in self.read_summary().get("evaluations", []) if one["protocol"] != entry["protocol"]]
        self.write_summary(evaluations=[*others, entry])

    def read_summary(self) -> dict[str, Any]:
        """summary.json, or an empty record."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def write_summary(self, **parts: Any) -> dict[str, Any]:
        """Replace these parts of summary.json and keep the others."""
        summary = self.read_summary() | parts
        write_atomically(self.path / "summary.json", json.dumps(summary, indent=2, default=float) + "\n")
        return summary


def saved_overrides(run_dir: Path) -> list[str]:
    """What the command line of a run asked for, as it was typed; nothing in it is interpolated."""
    file = run_dir / ".hydra" / "overrides.yaml"
    saved: Any = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else []
    return [str(override) for override in saved]


def _resolved(config: DictConfig, with_environment: bool) -> DictConfig:
    """All interpolations resolved, or all but those of the environment; the command line is never interpolated."""
    config = copy.deepcopy(config)
    command = config.command
    config.command = None
    if not with_environment:
        OmegaConf.register_new_resolver("oc.env", _as_written, replace=True)
    try:
        config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # type: ignore[assignment]
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)
    config.command = command if command is None else literal(command)
    return config


def _as_written(name: str, *default: Any) -> Any:
    """The interpolation of an environment variable as text; the package's own variables are resolved."""
    if name.startswith(OWN_VARIABLES):
        return env(name, *default)
    return "${oc.env:" + ",".join([name, *map(repr, default)]) + "}"


def _kept(record: Any, now: Any) -> Any:
    """`now`, with the texts of `record` that read the environment."""
    if isinstance(record, dict) and isinstance(now, dict):
        return {key: _kept(record.get(key), value) for key, value in now.items()}
    return record if isinstance(record, str) and ENVIRONMENT.search(record) else now
