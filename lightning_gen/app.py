"""The Hydra application behind train.py and `lightning-gen train`."""

import math
import os
import re
import shlex
import sys
import tempfile
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lightning_gen.config import config_dir, search_path
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.launch import INTERRUPTED, rank_from_environment
from lightning_gen.resuming import overrides_of, resumed_config

FULL_ERROR = "HYDRA_FULL_ERROR"
OWN = "LIGHTNING_GEN_SET_FULL_ERROR"  # it was us who set it
_command = ""  # as it was typed
_failures: list[int] = []  # exit codes of the jobs that failed


def run_name() -> str:
    """The name of a new run directory: its time, and a few letters so that two of one second differ."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
def hydra_main(config: DictConfig) -> float:
    """One job: a single run, or one of a multirun."""
    from lightning_gen.jobs import JobFailed, run_job

    directory = Path(HydraConfig.get().runtime.output_dir)
    with open_dict(config):
        config.command = _command
    try:
        if config.resume:
            config = resumed_config(config, directory, list(HydraConfig.get().overrides.task))
        return run_job(config, directory)
    except UserError as error:
        if _wants_traceback():
            raise
        print(f"error: {error}", file=sys.stderr)  # the other jobs of a multirun go on
        _failures.append(2)
    except JobFailed as failure:
        _failures.append(failure.code)
    return math.nan


def main(arguments: list[str] | None = None) -> None:
    """Run the application; a mistake is a line or two on standard error and exit code 2.

    HYDRA_FULL_ERROR=1 shows the traceback instead.
    """
    global _command
    program, given = sys.argv[0], sys.argv[1:] if arguments is None else arguments
    _command = shlex.join([Path(program).name, *sys.argv[1:]])
    traceback = _wants_traceback()
    os.environ[FULL_ERROR] = "1"  # Hydra raises what it would print; we print it
    os.environ[OWN] = "" if traceback else "1"
    _failures.clear()
    try:
        sys.argv = [program, *multirun_first(with_resume(given)), *search_path(), *quiet_rank()]
        hydra_main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if traceback:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2)
    finally:
        if not traceback:
            del os.environ[FULL_ERROR]
        os.environ.pop(OWN, None)
    if _failures:
        sys.exit(_failures[0])


def _wants_traceback() -> bool:
    return os.environ.get(FULL_ERROR, "0") not in ("", "0") and not os.environ.get(OWN)


def multirun_first(arguments: list[str]) -> list[str]:
    """`-m` may stand anywhere: Hydra's parser takes it only before or after all overrides."""
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    return [*flags[:1], *(argument for argument in arguments if argument not in flags)]


def with_resume(arguments: list[str]) -> list[str]:
    """With `resume=RUN`: the run's own overrides, the new ones, and Hydra's output in the same directory."""
    target = next((a.partition("=")[2] for a in arguments if re.match(r"\+*resume=", a)), "")
    if target in ("", "null"):
        return arguments
    run = Path(target.strip("'\"")).resolve()
    if not (run / "config.yaml").is_file():
        raise UserError(f"resume={target} is not a run directory: there is no {run / 'config.yaml'}.")
    return [*overrides_of(run, arguments), *arguments, f"hydra.run.dir='{run}'", "hydra.output_subdir=null"]


def quiet_rank() -> list[str]:
    """Under torchrun or srun, the processes other than the first keep out of the run directory."""
    if rank_from_environment()[0] == 0:
        return []
    return [f"hydra.run.dir='{tempfile.mkdtemp()}'", "hydra.output_subdir=null"]


def explain(error: Exception) -> str:
    """What went wrong in one or two lines, with the nearest name that exists."""
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    cause = error.__cause__ or error
    missing_option = re.search(r"Could not find '([^']+)'\n+Available options in '([^']+)':\n((?:\t.*\n?)*)", text)
    if missing_option:
        wanted, group, listed = missing_option.groups()
        return unknown_option(group, wanted.rsplit("/", 1)[-1], listed.split())
    missing_file = re.search(r"Could not load '([^']+)/([^'/]+)'", text)
    if missing_file:
        group, word = missing_file.groups()
        options = sorted(file.stem for file in (config_dir() / group).glob("*.yaml"))
        if options:
            return unknown_option(group, word, options)
    key = re.search(r"full_key: (\S+)", str(cause))
    if key and "is not in struct" in str(cause):
        return f"There is no config key {key.group(1)!r}.{did_you_mean(key.group(1), near(key.group(1)))}"
    lines = [line.strip() for line in (text + "\n" + str(error.__cause__ or "")).splitlines() if line.strip()]
    useful = [line for line in dict.fromkeys(lines) if not re.match(r"(full_key|object_type|See |Set the env)", line)]
    return " ".join(useful[:2])


def unknown_option(group: str, word: str, listed: list[str]) -> str:
    options = [option for option in listed if option != "base"]  # that is what the others of a group share
    return f"{group}={word} does not exist: use one of {', '.join(options)}.{did_you_mean(word, options)}"


def near(key: str) -> list[str]:
    """The keys at the depth of this one: a misspelt group is not a key deep inside another."""
    return [known for known in all_keys() if known.count(".") == key.count(".") and known != key]


def all_keys() -> list[str]:
    """Every dotted key of the default config and of each option of its groups."""
    keys: set[str] = set()

    def walk(node: Any, prefix: str) -> None:
        for key in node if isinstance(node, dict) else ():
            keys.add(prefix + key)
            walk(node[key], f"{prefix}{key}.")

    for file in config_dir().rglob("*.yaml"):
        group = file.parent.relative_to(config_dir()).parts
        node = OmegaConf.to_container(OmegaConf.load(file))
        package = {"hardware": "trainer"}.get(group[0], ".".join(group)) if group else ""
        walk(node, f"{package}." if package else "")
        keys.update(group[:1])
    return sorted(keys)
