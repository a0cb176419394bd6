"""The implementation of `lightning_gen.train`: a training run in this process, for scripts and notebooks."""

import gc
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lightning_gen.commands.arguments import present_names, with_resume
from lightning_gen.commands.job import JobFailed
from lightning_gen.commands.train import one_job
from lightning_gen.config.compose import initialized
from lightning_gen.config.explain import explain, folder_not_made
from lightning_gen.distributed import rank_from_environment
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.runs.trained import TrainedRun


def train_here(overrides: Sequence[str]) -> TrainedRun:
    """Train with these overrides and load the run; see `lightning_gen.train`."""
    command = f"lightning_gen.train({', '.join(map(repr, overrides))})"
    failures: list[Exception] = []
    begun = False

    def job(config: DictConfig) -> Path:
        nonlocal begun
        begun = True
        try:
            one_job(config, command)
        except (UserError, JobFailed) as error:
            failures.append(error)  # Hydra would add its own text to an error that is raised here
        return Path(HydraConfig.get().runtime.output_dir)

    with process_put_back():
        try:
            check(overrides)
            with initialized() as hydra:
                done = hydra.run("train", job, with_resume(present_names(list(overrides))))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error)) from error
        except OSError as error:
            message = folder_not_made(error)
            if begun or message is None:
                raise
            raise UserError(message) from error
        except SystemExit:  # Lightning raises it at a second Ctrl-C
            raise KeyboardInterrupt from None
    if failures:
        raise failures[0]
    run = Run.load(done.return_value)
    return TrainedRun(run, "best" if run.checkpoint_path("best").exists() else "last")


def check(overrides: Sequence[str]) -> None:
    """Check that the overrides describe one run, which this process can start.

    Raises:
        UserError: an argument that is not an override, a grid or a search, or a process started by torchrun or srun.
    """
    for given in overrides:
        if not isinstance(given, str):
            raise UserError(f'lightning_gen.train takes overrides as strings, such as "model=vae"; got {given!r}.')
    not_here = [given for given in overrides if given.startswith("-")]
    if not not_here:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        several = (o for o in parsed if o.is_sweep_override() or o.key_or_group in ("hydra.mode", "sweeps"))
        not_here = [str(override.input_line) for override in several]
    if not_here:
        raise UserError(
            f"{not_here[0]} works only on the command line (python train.py -m ...): lightning_gen.train runs one "
            "training. For a grid, call it in a loop."
        )
    if any(given == "hydra.mode=MULTIRUN" for given in with_resume(list(overrides))):
        raise UserError("lightning_gen.train continues one run: name a directory inside that of the multirun.")
    if rank_from_environment()[1] > 1:
        raise UserError(
            "lightning_gen.train starts its own processes: run it without torchrun or srun, with trainer.devices=N."
        )


@contextmanager
def process_put_back() -> Iterator[None]:
    """At the end, even after an error, restore the global random generators and signal handlers, and free memory."""
    on_main_thread = threading.current_thread() is threading.main_thread()  # only this one may set handlers
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 the global generator
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        for number, handler in handlers.items() if on_main_thread else ():
            signal.signal(number, handler)
        gc.collect()  # a Trainer and its model refer to each other and would keep GPU memory until a later collection
