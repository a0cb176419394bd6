"""Compose a config with Hydra, and register the functions that configs may call."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_gen.config.explain import explain
from lightning_gen.config.tree import config_dir
from lightning_gen.errors import UserError

requeued_command: str | None = None  # the command line, which a job that is put back into a queue repeats


def run_name(given: str | None = None) -> str:
    """The name of a new run directory: the given one, or the time and random letters, for runs of the same second.

    In a job of SLURM that runs a command line, it is the job's number and a hash of the command line: a job that is
    put back into the queue finds its run.
    """
    if given is not None:
        return given
    if requeued_command is not None and in_batch_job():
        parts = [os.environ[name] for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ]
        job = "_".join(parts) if len(parts) == 2 else os.environ["SLURM_JOB_ID"]
        return f"slurm-{job}-{hashlib.sha256(requeued_command.encode()).hexdigest()[:6]}"
    return f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
OmegaConf.register_new_resolver("images_of", lambda steps, batch: float(steps) * int(batch), replace=True)
OmegaConf.register_new_resolver("reverse", lambda values: list(reversed(values)), replace=True)


def in_batch_job() -> bool:
    """Whether this is a job of SLURM's queue, not an interactive one."""
    return "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def compose(overrides: list[str]) -> DictConfig:
    """Compose the config of train.py with these overrides, outside a Hydra application.

    Overrides of Hydra itself (`hydra....`) are ignored.

    Raises:
        UserError: a name that does not exist, or an override that cannot be parsed.
    """
    try:
        with initialized():
            return hydra.compose("train", overrides=[o for o in overrides if not o.startswith("hydra")])
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a group set to a number
        raise UserError(explain(error)) from error


@contextmanager
def initialized() -> Iterator[Hydra]:
    """Hydra with our configs inside the block; afterwards the Hydra that the caller had initialized is restored."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_dir()), job_name="train", version_base="1.3"):
            ours = GlobalHydra.instance().hydra
            assert ours is not None
            yield ours
    finally:
        GlobalHydra.instance().hydra = before
