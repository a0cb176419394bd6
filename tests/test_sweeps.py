"""The searches of sweeps/ run as their heads say."""

import math
import shlex
from pathlib import Path

import pytest
import yaml

from lightning_gen.commands.leaderboard import show_leaderboard
from lightning_gen.config.compose import compose
from lightning_gen.runs.run import Run
from lightning_gen.search.space import read_space
from tests.helpers import QUICK

ROOT = Path(__file__).parents[1]
SEARCHES = sorted(file.stem for file in (ROOT / "sweeps").glob("*.yaml") if not file.stem.startswith("wandb"))
SHORT = ("networks=mlp", "trainer.max_steps=1", "evaluation.num_samples=20")


def test_grid_of_models_and_seeds(tmp_path, train_command):
    done = train_command(*QUICK, *SHORT, "-m", "model=ae,vae,gan", "seed=0,1", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    runs = [Run.load(tmp_path / str(job)) for job in range(6)]
    assert [(r.config.model.name, r.config.seed) for r in runs] == [
        (m, s) for m in ("ae", "vae", "gan") for s in (0, 1)
    ]
    assert len({run.config.id for run in runs}) == 6
    assert all(run.read_summary()["status"] == "completed" for run in runs)


def test_hydra_search(tmp_path, train_command):
    done = train_command("-m", "sweeps=gan_learning_rate", *SHORT, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    configs = [Run.load(tmp_path / str(job)).config.model for job in range(6)]
    tried = {(c.generator_optimizer.lr, c.discriminator_optimizer.lr, c.d_steps) for c in configs}
    assert tried == {(lr, lr, d) for lr in (1e-4, 2e-4, 5e-4) for d in (1, 2)}


def test_wandb_sweep_file(tmp_path, train_command):
    """What an agent would start, with a value of each parameter, trains."""
    sweep = yaml.safe_load((ROOT / "sweeps" / "wandb_gan.yaml").read_text())
    values = {name: spec.get("min") or spec["values"][0] for name, spec in sweep["parameters"].items()}
    words = {
        "${env}": "",
        "${interpreter}": "",
        "${program}": "",
        "logger.wandb.mode=online": "logger.wandb.mode=disabled",
    }
    words["${args_no_hyphens}"] = " ".join(f"{name}={value}" for name, value in values.items())
    arguments = shlex.split(" ".join(words.get(word, word) for word in sweep["command"]))
    assert sweep["program"] == "train.py"
    done = train_command(*arguments, *SHORT, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    summary = Run.load(tmp_path).read_summary()
    assert sweep["metric"]["name"] in summary["metrics"]
    assert Run.load(tmp_path).config.model.generator_optimizer.lr == 5e-5


@pytest.mark.parametrize("name", SEARCHES)
def test_every_value_of_a_search_exists(name):
    """Each value of each key composes; of an interval, both ends do."""
    params = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    space, fixed = read_space(params, [])
    assert not fixed
    for key, values in space.items():
        for value in getattr(values, "choices", None) or (values.low, values.high):
            compose([f"sweeps={name}", f"{key}={value}"])


@pytest.mark.parametrize("name", ["gan_search", "vae_beta", "ae_width", "gan_losses"])
def test_two_trials_of_each_search(name, tmp_path, train_command):
    """The searches start as their heads say, and the leaderboard reads what they leave."""
    options = ["sweep.trials=2", "sweep.repeat_best=0", "sweep.seeds=1", "networks=mlp"]
    done = train_command("-m", f"sweeps={name}", *QUICK, *SHORT, *options, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    board = show_leaderboard([tmp_path], [], plots=False)
    assert [entry.status for entry in board.entries] == ["completed"] * 2
    assert all(math.isfinite(value) for entry in board.entries for value in entry.values)
