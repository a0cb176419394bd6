"""The searches of sweeps/ run as their heads say."""

import json
import math
from pathlib import Path

import jsonschema
import pytest
import yaml
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lightning_gen.commands.leaderboard import show_leaderboard
from lightning_gen.config.compose import compose
from lightning_gen.runs.run import Run
from lightning_gen.search.space import read_space
from tests.helpers import QUICK, quick
from tests.training.loggers.wandb_reader import parts_of

ROOT = Path(__file__).parents[1]
SEARCHES = sorted(file.stem for file in (ROOT / "sweeps").glob("*.yaml"))
OF_WANDB = sorted((ROOT / "sweeps" / "wandb").glob("*.yaml"))
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
    done = train_command("-m", "sweeps=gan_learning_rate", *QUICK, *SHORT, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    configs = [Run.load(tmp_path / str(job)).config.model for job in range(6)]
    tried = {(c.generator_optimizer.lr, c.discriminator_optimizer.lr, c.d_steps) for c in configs}
    assert tried == {(lr, lr, d) for lr in (1e-4, 2e-4, 5e-4) for d in (1, 2)}


@pytest.mark.parametrize("file", OF_WANDB, ids=lambda file: file.stem)
def test_wandb_accepts_its_sweeps(file):
    """By wandb's own schema: that of its package `sweeps` 0.3.0 (MIT), which itself needs an old numpy."""
    schema = json.loads((ROOT / "tests" / "records" / "wandb_sweeps_schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
    sweep = yaml.safe_load(file.read_text())
    assert [error.message for error in validator.iter_errors(sweep)] == []
    assert sweep["early_terminate"]["type"] == "hyperband"
    assert list(validator.iter_errors({**sweep, "early_terminate": {"type": "hyperbond"}}))  # it does find mistakes


@pytest.mark.parametrize("file", OF_WANDB, ids=lambda file: file.stem)
def test_what_an_agent_of_wandb_starts_trains_as_the_run_that_it_expects(file, tmp_path, monkeypatch, train_command):
    """With the last of the values, or the largest, and the command line as wandb's own agent makes it."""
    sweep = yaml.safe_load(file.read_text())
    chosen = {name: spec.get("max") or spec["values"][-1] for name, spec in sweep["parameters"].items()}
    values = {"args": {name: {"value": value} for name, value in chosen.items()}}
    words = {**create_sweep_command_args(values), "env": [], "interpreter": [], "program": []}
    line = [part for word in create_sweep_command(sweep["command"]) for part in words.get(word[2:-1], [word])]
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    assert sweep["program"] == "train.py"
    short = quick(*SHORT, "evaluation.held_out=100", "evaluation.every_n_steps=1", f"hydra.run.dir={tmp_path}")
    short = [option for option in short if option.split("=")[0] not in chosen]
    done = train_command(
        *[part for part in line if part.split("=")[0] not in [s.split("=")[0] for s in short]], *short
    )
    assert done.returncode == 0, done.stderr
    run = Run.load(tmp_path)
    assert sweep["metric"]["name"] in run.read_summary()["metrics"]
    assert run.config.id == "r1"
    for name, value in chosen.items():
        asked = yaml.safe_load(value) if isinstance(value, str) else value
        found = OmegaConf.select(run.config, name)
        if name == "model.loss":
            assert found._target_.endswith("RelativisticPaired")
        elif name == "model.penalty":
            assert list(found) == [asked]
        else:
            assert found == asked


def test_a_run_of_an_agent_belongs_to_its_sweep(tmp_path, monkeypatch):
    """wandb reads the sweep from the environment that the agent sets."""
    import wandb

    from tests.helpers import train_run

    wandb.teardown()  # it reads the environment once in a process, and another test may have begun a record
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    train_run(tmp_path, "model=ae", "networks=mlp", "logger=wandb", "trainer.max_steps=1")
    (part,) = parts_of(tmp_path)
    wandb.teardown()  # so that later tests do not find this environment
    assert (part.run.run_id, part.run.sweep_id) == ("r1", "s1")


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
