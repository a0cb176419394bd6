"""resume=SWEEP continues a grid or a search: finished jobs are skipped, others are resumed, or begun."""

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lightning_gen.errors import UserError
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.resume import HYDRAS
from lightning_gen.runs.run import COMPLETE, Run
from lightning_gen.runs.trust import check_targets, foreign_variables

RECORD = "multirun.yaml"  # written by Hydra when a multirun starts
SWEEPERS = {  # whose jobs can be continued, and the override that chooses each
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper": "hydra/sweeper=basic",
    "hydra_plugins.lightning_gen_search.Search": "hydra/sweeper=search",
}


def is_multirun(directory: Path) -> bool:
    """Whether this is the directory of a multirun, with a directory for each job in it."""
    return (directory / RECORD).is_file() and not (directory / "config.yaml").is_file()


def overrides_of_multirun(directory: Path, new: list[str]) -> list[str]:
    """The overrides that continue a multirun, one of them Hydra's for a multirun.

    Args:
        directory: the directory of the multirun.
        new: the overrides given besides `resume`.

    Raises:
        UserError: the record cannot be read or is not of a grid, or there are new overrides that are not Hydra's.
    """
    changes = [override for override in new if not HYDRAS.match(override)]
    if changes:
        raise UserError(
            f"resume={directory} continues all jobs of a multirun as they were started: leave out {changes[0]}, or "
            f"resume single jobs, such as resume='{directory}/0'."
        )
    path = directory / RECORD
    try:
        record = OmegaConf.load(path)
        started: Any = OmegaConf.to_container(record.hydra.overrides.task)
        sweeper = str(record.hydra.sweeper._target_)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException, AttributeError) as error:
        raise UserError(f"{path} cannot be read: {(str(error).splitlines() or [''])[0]}") from error
    if sweeper not in SWEEPERS:
        raise UserError(f"{directory} was started by {sweeper}, whose jobs cannot be continued by resume.")
    typed = [str(override) for override in started]
    variables = [name for override in typed for name in foreign_variables(override)]
    if variables:
        raise UserError(f"{path} reads the environment variable {variables[0]}: allow it with LIGHTNING_GEN_TRUST.")
    return [*(o for o in typed if not re.match(r"\+*resume=", o)), *new, SWEEPERS[sweeper], "hydra.mode=MULTIRUN"]


def job_directory(multirun: Path, overrides: list[str], default: Path) -> Path | None:
    """The directory of the job with these overrides, or None if it has not begun.

    Args:
        multirun: the directory of the multirun.
        overrides: those of the job.
        default: where Hydra puts this job; it may have begun without a record of its overrides. It is removed if
            it is empty and not the job's.
    """
    for saved in sorted(multirun.rglob(".hydra/overrides.yaml")):
        run = saved.parents[1]
        if (run / "config.yaml").is_file() and sorted(saved_overrides(run)) == sorted(overrides):
            if run != default:
                with suppress(OSError):
                    default.rmdir()  # Hydra has just made it
            return run
    return default if (default / "config.yaml").is_file() else None


def check_new_job(config: DictConfig, multirun: Path) -> None:
    """Check that a job that begins now calls only trusted classes: its overrides are from the multirun's directory.

    Raises:
        UserError: a name that is not trusted.
    """
    check_targets(OmegaConf.to_container(config, resolve=True), multirun / RECORD)


def result_of(directory: Path) -> float | None:
    """The best value of a finished run, which a grid reports, or NaN without one; None if it is not finished."""
    summary = Run.load(directory).read_summary()
    if summary.get("status") not in COMPLETE:
        return None
    value = summary.get("best", {}).get("value")
    return math.nan if value is None else float(value)
