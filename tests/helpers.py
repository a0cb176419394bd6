"""Short trainings, from the same configs that users have."""

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from lightning_gen.config import config_dir
from lightning_gen.run import Run
from lightning_gen.training import train

QUICK = (
    "logger=csv",
    "hardware=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1",
    "evaluation.num_samples=20",
    "evaluation.every_n_steps=1000",
    "evaluation.nll.k=0",
    "dataset.batch_size=16",
)


def make_run(path: Path, *overrides: str) -> Run:
    """A run directory of these overrides, not trained yet."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("train", overrides=[*QUICK, *overrides])
    run = Run.create(path, config)
    run.save()
    return run


def train_run(path: Path, *overrides: str) -> tuple[Run, dict[str, Any]]:
    """Train a new run in this process; the run and its summary."""
    run = make_run(path, *overrides)
    return run, train(run)


def resume_run(path: Path, max_steps: int) -> tuple[Run, dict[str, Any]]:
    """Go on with a run up to `max_steps`."""
    run = Run.load(path)
    run.config.resume, run.config.trainer.max_steps = str(path), max_steps
    return run, train(run)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested containers by their paths."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        return {prefix: tree}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}/{key}").items()}


def assert_same(a: Any, b: Any, tolerance: float = 0.0) -> None:
    """The same paths, the same numbers: to the bit unless a tolerance is given."""
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for path in a:
        if isinstance(a[path], torch.Tensor):
            torch.testing.assert_close(
                a[path], b[path], rtol=tolerance, atol=tolerance, msg=lambda m, p=path: f"{p}: {m}"
            )
        else:
            assert a[path] == b[path], path
