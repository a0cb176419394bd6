"""The arguments of `python train.py`, rewritten for Hydra: earlier names, resume=RUN, wandb's sweeps."""

import re
import sys
from pathlib import Path

from hydra._internal.utils import get_args_parser

from lightning_gen.commands.multirun import is_multirun, overrides_of_multirun
from lightning_gen.config.tree import options_of_groups, sweeps_of_wandb
from lightning_gen.errors import UserError
from lightning_gen.runs.resume import overrides_of
from lightning_gen.runs.upgrade import renamed, with_objective_group, with_schedules


def overrides_and_flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Separate overrides of config keys from Hydra's own flags and their values, which may be mixed."""
    overrides = list(get_args_parser().parse_intermixed_args(arguments).overrides)
    flags = list(arguments)
    for override in overrides:
        flags.remove(override)
    return overrides, flags


def present_names(arguments: list[str]) -> list[str]:
    """Replace names of keys from earlier versions by the present ones, with a note on standard error."""
    result = [renamed(argument) for argument in arguments]
    for old, new in zip(arguments, result, strict=True):
        if old != new:
            print(f"note: {old} is now {new}", file=sys.stderr)
    renewed = with_schedules(with_objective_group(result))
    if renewed != result:
        former, present = (" ".join(o for o in a if o not in b) for a, b in ((result, renewed), (renewed, result)))
        print(f"note: {former} is now {present}", file=sys.stderr)
    return renewed


def with_resume(arguments: list[str]) -> list[str]:
    """With `resume=RUN`: add the overrides of the run, and make its directory Hydra's output directory.

    Raises:
        UserError: it is the directory neither of a run nor of a multirun, or another directory is asked for.
    """
    target = next((a.partition("=")[2] for a in arguments if re.match(r"\+*resume=", a)), "null")
    if target == "null":
        return arguments
    run = Path(target.strip("'\"")).resolve()
    if not target.strip("'\""):
        raise UserError("resume= is empty: name the run directory to continue, or leave resume out for a new run.")
    rest = [a for a in arguments if not re.match(r"\+*resume=", a)]
    if elsewhere := next((a for a in rest if re.match(r"\+*hydra\.(run|sweep)\.dir=", a)), None):
        raise UserError(
            f"{elsewhere}: a run goes on in its own directory. Leave it out, or copy {target} and resume the copy."
        )
    if is_multirun(run):
        return [*overrides_of_multirun(run, rest), f"resume={quoted(run)}", f"hydra.sweep.dir={quoted(run)}"]
    if not (run / "config.yaml").is_file():
        raise UserError(f"resume={target} is not a run directory: there is no {run / 'config.yaml'}.")
    return [*overrides_of(run, rest), *rest, f"resume={quoted(run)}", f"hydra.run.dir={quoted(run)}"]


def refuse_wandb_sweeps(arguments: list[str]) -> None:
    """Raise a UserError for `sweeps=NAME` where the file is a sweep for wandb's own program."""
    for argument in arguments:
        key, _, name = argument.lstrip("+").partition("=")
        if key == "sweeps" and name.startswith("wandb"):
            known = sorted(file.stem for file in sweeps_of_wandb().glob("*.yaml"))
            wanted = name.removeprefix("wandb").strip("/_")
            file = f"sweeps/wandb/{wanted if wanted in known else 'NAME'}.yaml"
            raise UserError(
                f"sweeps={name} is no sweep of Hydra: run `wandb sweep --project lightning_gen {file}`, then the "
                f"`wandb agent` command that it prints. There are {', '.join(known)}."
            )


def groups_of_agent(arguments: list[str]) -> list[str]:
    """Let `model.loss=hinge` choose from the group model/loss: a sweep of wandb allows no slash in a name."""
    result = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        group = key.replace(".", "/")
        chosen = "." in key and value in options_of_groups().get(group, [])
        result.append(f"{group}={value}" if chosen else argument)
    return result


def quoted(path: Path) -> str:
    """A path as the value of an override, with any characters."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
