"""What follows when training diverges: the run stops, or goes back to its last checkpoint with lower learning rates.

A rollback is recorded in summary.json before training goes on, and the learning rates are a function of the step and
of these records. So a run that is stopped after a rollback resumes bit for bit.
"""

import sys
from pathlib import Path
from typing import Any

from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run


class Diverged(UserError):
    """Something in training is not finite.

    Args:
        name: what is not finite, such as "the generator loss".
        step: the step in which it was found.
        found: what was found.
        last: the checkpoint from before, if there is one.
    """

    def __init__(self, name: str, step: int, found: str = "is not finite", last: Path | None = None) -> None:
        self.reason, self.step = f"{name} {found}", step
        kept = f" The last checkpoint is from before: {last}" if last else ""
        super().__init__(
            f"{name} {found} at step {step}: training has diverged. Lower the learning rate, clip the gradients "
            f"(trainer.gradient_clip_val=1), or set on_divergence=rollback.{kept}"
        )


def roll_back(run: Run, error: Diverged, writes: bool) -> None:
    """Record that the run goes back to its newest checkpoint, from which the caller then resumes it.

    Args:
        run: the run; from now on, its config says that it is resumed.
        error: why it goes back.
        writes: whether this process writes the record, which one of several does.

    Raises:
        Diverged: the error, if `on_divergence` is `stop`, or after `rollback.max_times` rollbacks.
    """
    settings, past = run.config.rollback, run.rollbacks
    if run.config.on_divergence == "stop":
        raise error
    if len(past) >= settings.max_times:
        error.args = (f"{error} This was after {len(past)} rollbacks (rollback.max_times).",)
        raise error
    found = run.checkpoint_to_resume()
    if found is None:  # the initial weights are not finite
        raise error
    back = found[1]["global_step"]
    entry = {"step": error.step, "to": back, "lr_factor": settings.lr_factor, "reason": error.reason}
    run.rollbacks, run.config.resume = [*past, entry], str(run.path)
    if writes:
        run.write_summary(rollbacks=run.rollbacks, status="running")
        print(
            f"warning: step {error.step}: {error.reason}. Going back to step {back} with learning rates times "
            f"{settings.lr_factor:g}; rollback {len(run.rollbacks)} of at most {settings.max_times}.",
            file=sys.stderr,
        )


def lowered_rates(rollbacks: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """The steps from which a run's learning rates are lower, each with its factor."""
    return [(entry["to"], entry["lr_factor"]) for entry in rollbacks]
