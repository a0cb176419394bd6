"""One job from its config to its summary, in this process or in one process a device."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from lightning_gen.hardware import device_count, rank_from_environment
from lightning_gen.launch import launch
from lightning_gen.run import Run
from lightning_gen.terminal import quiet_libraries, report
from lightning_gen.training import objective, prepare, train


def run_job(config: DictConfig, directory: Path) -> float:
    """Check, train, report; returns what a sweep optimizes.

    Raises:
        UserError: before training, for anything that the user can put right.
        SystemExit: with the exit code of training that failed or was interrupted.
    """
    quiet_libraries()
    rank, processes = rank_from_environment()
    run = Run(directory, config) if rank else Run.create(directory, config)
    try:
        parts = prepare(run)
    except Exception:
        if not rank and not config.resume:
            run.write_summary(status="failed")
        raise
    devices = device_count(run.config.trainer)
    if processes == 1 and devices > 1:
        code = launch(run.path, devices)
        summary = run.read_summary()
        if code and code != 130:
            sys.exit(code)
    else:
        summary = train(run, parts)
    if rank == 0:
        report(run, summary)
    if summary["status"] == "interrupted":
        sys.exit(130)
    return objective(run, summary)
