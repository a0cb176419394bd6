"""A search that is killed with `kill -9` loses and repeats no trial: `pytest -m slow tests/search/test_kills.py`."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lightning_gen.runs.run import Run
from lightning_gen.search.study import open_storage
from tests.helpers import QUICK

ROOT = Path(__file__).parents[2]
TRIALS = 24
COMMAND = (
    *QUICK,
    "-m",
    "hydra/sweeper=search",
    "model=gan",
    "networks=mlp",
    "trainer.max_steps=60",
    "evaluation.every_n_steps=20",
    "checkpoint.every_n_steps=10",
    "model.generator_optimizer.lr=tag(log,interval(1e-4,1e-2))",
    f"sweep.trials={TRIALS}",
)


def start(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *COMMAND, f"hydra.sweep.dir={folder}"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ended(folder: Path) -> int:
    return sum("completed" in file.read_text() for file in folder.glob("*/summary.json"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_three_kills(tmp_path, workers):
    draw = random.Random(workers)
    for kill in range(3):
        running = [start(tmp_path) for _ in range(workers)]
        goal, until = ended(tmp_path) + 4, time.time() + 300
        while ended(tmp_path) < goal and time.time() < until:
            time.sleep(0.1)
        time.sleep(draw.uniform(0.0, 3.0))  # anywhere in the next trial
        for worker in running:
            worker.kill()
            worker.wait()
        assert ended(tmp_path) >= goal, f"kill {kill}: the search did not go on"
    assert [worker.wait(timeout=900) for worker in [start(tmp_path) for _ in range(workers)]] == [0] * workers

    study = optuna.load_study(study_name=tmp_path.name, storage=open_storage(None, tmp_path))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * TRIALS
    rates = [trial.params["model.generator_optimizer.lr"] for trial in study.trials]
    assert len(set(rates)) == TRIALS
    for trial in study.trials:
        run = Run.load(tmp_path / str(trial.number))
        assert run.config.model.generator_optimizer.lr == trial.params["model.generator_optimizer.lr"]
        summary = run.read_summary()
        assert (summary["status"], summary["progress"]["step"]) == ("completed", 60)
        assert trial.values == [summary["best"]["value"]]
    assert sum(trial.user_attrs["attempts"] > 1 for trial in study.trials) >= 3  # the killed ones went on
