"""Twenty runs of a command are killed at random moments, resumed, and end bit for bit as without a kill.

python -m pytest -n 0 -s -m slow tests/test_kills.py
"""

import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from lightning_gen.runs.run import Run
from tests.helpers import assert_same, logged, quick, start_command

KILLS = 20
COMMON = ("networks=mlp", "trainer.max_steps=600", "evaluation.every_n_steps=150", "checkpoint.every_n_steps=40")
CHAINS = (
    ("model=gan", "model.d_steps=2", "trainer.log_every_n_steps=7", "schedule.warmup_steps=300"),
    ("model=vae", "trainer.accumulate_grad_batches=3", "evaluation.nll.k=5", "evaluation.nll.images=50"),
    ("model=ae", "networks.encoder.dropout=0.2", "checkpoint.keep=3", "ema=average", "trainer.log_every_n_steps=1"),
)
PARTS = ("state_dict", "optimizer_states", "random_state", "global_step", "images_seen")


def start(run_dir: Path, options: tuple[str, ...]) -> BaseProcess:
    """Start the run, or resume it if it has begun."""
    begun = (run_dir / "config.yaml").exists()
    arguments = [f"resume={run_dir}"] if begun else quick(*COMMON, *options, f"hydra.run.dir={run_dir}")
    return start_command(arguments, run_dir.with_suffix(".log"))


def last_step(run_dir: Path) -> int | None:
    """The last step that was logged."""
    path = run_dir / "metrics.csv"
    return int(path.read_text().splitlines()[-1].split(",")[0]) if path.exists() else None


@pytest.mark.slow
def test_killed_runs_end_as_others_do(tmp_path):
    draw, killed_at, chain = random.Random(0), [], 0
    while len(killed_at) < KILLS:
        options = (*CHAINS[chain % len(CHAINS)], f"seed={chain}")
        straight_dir, run_dir = tmp_path / f"straight{chain}", tmp_path / f"killed{chain}"
        begin = time.monotonic()
        process = start(straight_dir, options)
        process.join()
        seconds = time.monotonic() - begin
        assert process.exitcode == 0, straight_dir.with_suffix(".log").read_text()
        process = start(run_dir, options)
        while len(killed_at) < KILLS:
            process.join(draw.uniform(0, 0.6 * seconds))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            killed_at.append(last_step(run_dir))
            process = start(run_dir, options)
        process.join()
        assert process.exitcode == 0, run_dir.with_suffix(".log").read_text()
        killed, straight = Run.load(run_dir), Run.load(straight_dir)
        for which in ("last", "best"):
            for part in PARTS:
                assert_same(straight.read_checkpoint(which)[part], killed.read_checkpoint(which)[part])
        assert logged(straight.path) == logged(killed.path)
        left = [path.name for path in run_dir.rglob("*") if path.name.endswith(".tmp") or path.name == "next.ckpt"]
        assert not left
        chain += 1
    print(f"{len(killed_at)} kills in {chain} chains, bit-identical; last steps logged before them: {killed_at}")
