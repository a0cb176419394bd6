"""The Hydra application behind train.py and `lightning-gen train`."""

import atexit
import math
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lightning_gen.commands.arguments import (
    groups_of_agent,
    overrides_and_flags,
    present_names,
    refuse_wandb_sweeps,
    with_resume,
)
from lightning_gen.commands.help import help_text
from lightning_gen.commands.multirun import (
    check_new_job,
    is_multirun,
    job_directory,
    result_of,
)
from lightning_gen.config import compose
from lightning_gen.config.explain import explain, folder_not_made
from lightning_gen.config.tree import config_dir
from lightning_gen.distributed import rank_from_environment
from lightning_gen.errors import INTERRUPTED, UserError
from lightning_gen.files import shortest
from lightning_gen.progress import progress
from lightning_gen.runs.resume import keys_of, resumed_config
from lightning_gen.runs.run import Run
from lightning_gen.runs.trust import literal

FULL_ERROR = "HYDRA_FULL_ERROR"
OWN = "LIGHTNING_GEN_SET_FULL_ERROR"  # set if this package has set FULL_ERROR
_command = ""  # the command line as typed
_failures: list[int] = []  # exit codes of the jobs that failed
_begun = False  # whether Hydra has made the run directory and called the job


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
def hydra_main(config: DictConfig) -> float:
    """One job: a single run, or one of a multirun."""
    global _begun
    _begun = True
    with progress(None, "starting: loading PyTorch and Lightning"):
        from lightning_gen.commands.job import JobFailed

    try:
        return one_job(config, _command)
    except UserError as error:
        if _wants_traceback():
            raise
        print(f"error: {error}", file=sys.stderr)  # the other jobs of a multirun continue
        if config.sweep.trial is None:  # a search records its failed trials itself
            _failures.append(2)
    except JobFailed as failure:
        if config.sweep.trial is None:
            _failures.append(failure.code)
    except KeyboardInterrupt:
        if in_multirun():
            print(f"all jobs python train.py resume={shlex.quote(shortest(Path(HydraConfig.get().sweep.dir)))}")
        raise
    return math.nan


def one_job(config: DictConfig, command: str) -> float:
    """Train the config that Hydra has composed, in the run directory it has made; returns what a sweep optimizes.

    Raises:
        UserError, JobFailed, KeyboardInterrupt: as `run_job`.
    """
    from lightning_gen.commands.job import run_job

    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    typed: Any = OmegaConf.to_container(hydra_config.overrides.task)  # without interpolation
    overrides = [str(override) for override in typed]
    searched = set(hydra_config.sweeper.get("params") or {}) - keys_of(overrides)
    if hydra_config.mode == RunMode.RUN and searched and not config.resume:
        raise UserError("This is a sweep: start it with -m, as in python train.py -m sweeps=NAME.")
    with open_dict(config):
        config.command = literal(command)
    if config.resume and is_multirun(Path(config.resume)):
        multirun = Path(config.resume)
        overrides = [override for override in overrides if not override.startswith("resume=")]
        begun = job_directory(multirun, overrides, directory)
        config.resume = None if begun is None else str(begun)
        if begun is None:
            check_new_job(config, multirun)
    elif not config.resume and was_requeued() and (directory / "config.yaml").is_file():
        print(f"note: SLURM put this job back into the queue: going on with {directory}", file=sys.stderr)
        config.resume = str(directory)
    if config.resume:
        directory = Path(config.resume)
        if in_multirun() and (result := result_of(directory)) is not None:
            print(f"note: {shortest(directory)} is finished", file=sys.stderr)
            return result
        config = resumed_config(config, directory, overrides)
    if in_multirun():
        print(f"job {hydra_config.job.num}: {shlex.join(overrides)}", file=sys.stderr)
    run = Run.create(directory, config)
    run.overrides = overrides
    return run_job(run)


def main(arguments: list[str] | None = None) -> None:
    """Run the application; a mistake is a line or two on standard error and exit code 2.

    HYDRA_FULL_ERROR=1 shows the traceback instead.
    """
    global _command, _begun
    _begun = False
    program, given = sys.argv[0], sys.argv[1:] if arguments is None else arguments
    _command = shlex.join([Path(program).name, *sys.argv[1:]])
    compose.requeued_command = shlex.join(given)
    traceback = _wants_traceback()
    os.environ[FULL_ERROR] = "1"  # makes Hydra raise errors instead of printing them
    os.environ[OWN] = "" if traceback else "1"
    _failures.clear()
    try:
        overrides, flags = overrides_and_flags(given)
        if {"--help", "-h"} & set(flags):
            print(help_text())
            return
        refuse_wandb_sweeps(overrides)
        overrides = groups_of_agent(overrides) if "WANDB_SWEEP_ID" in os.environ else overrides
        sys.argv = [program, *with_resume(present_names(overrides)), *quiet_rank(), *flags]
        hydra_main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        if traceback or (type(error) is ValueError and "Config group override" not in str(error)):
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has seen enough, as in `--cfg job | head`
        if _begun:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        message = folder_not_made(error, bool({"-m", "--multirun"} & set(given)))
        if traceback or _begun or message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    finally:
        if not traceback:
            del os.environ[FULL_ERROR]
        os.environ.pop(OWN, None)
    if _failures:
        sys.exit(_failures[0])


def in_multirun() -> bool:
    """Whether this is one of several jobs of `train.py -m`."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def was_requeued() -> bool:
    """Whether SLURM runs this job again, after a preemption or `scontrol requeue`."""
    return compose.in_batch_job() and int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def _wants_traceback() -> bool:
    return os.environ.get(FULL_ERROR, "0") not in ("", "0") and not os.environ.get(OWN)


def quiet_rank() -> list[str]:
    """Under torchrun or srun, keep all processes but the first out of a new run directory."""
    if rank_from_environment()[0] == 0 or was_requeued():  # then all of them look for the run that has begun
        return []
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [f"hydra.run.dir='{folder}'"]
