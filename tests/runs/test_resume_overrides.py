"""Every override on resume is applied, or refused by name before anything in the run directory changes."""

import hashlib
from pathlib import Path

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from tests.helpers import QUICK, resume_run, train_run

OPTIONS = (*QUICK, "model=gan", "networks=mlp", "networks.encoder.widths=[16]", "trainer.max_steps=3")
FUSED = "model.generator_optimizer.fused=false"


def contents(folder: Path) -> dict[str, str]:
    """The files of a folder by name, with their hashes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps, trained once."""
    from lightning_gen.commands import train as app

    path = tmp_path_factory.mktemp("trained") / "run"
    app.main([*OPTIONS, f"hydra.run.dir={path}"])
    return path


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of it."""
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.latent_dim=8", "in the checkpoint and"),
        ("networks.encoder.widths=[8]", "in the checkpoint and"),
        ("model=vae", "resume cannot change model._target_ from lightning_gen.models.gan.GAN"),
        ("dataset.size=16", "trained on images of 1x8x8, but these are 1x16x16"),
        ("conditional=true", "resume cannot change conditional from False to True: start a new run"),
        ("seed=1", "resume cannot change seed from 0 to 1"),
        ("model.generator_optimizer._target_=torch.optim.SGD", "_optimizer._target_ from torch.optim.Adam"),
        ("trainer.precision=16-true", "resume cannot change trainer.precision from 32-true to 16-true"),
        ("trainer.max_step=9", "Did you mean 'trainer.max_steps'?"),
    ],
)
def test_refused_and_nothing_changes(run_dir, train_command, override, told):
    before = contents(run_dir)
    done = train_command(f"resume={run_dir}", "trainer.max_steps=6", override)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(run_dir) == before


def test_hyperparameters_are_applied(run_dir, train_command):
    changed = (
        ("model.generator_optimizer.lr=1e-9", 0, "initial_lr", 1e-9),
        ("model.discriminator_optimizer.lr=3e-5", 1, "initial_lr", 3e-5),
        ("model.generator_optimizer.betas=[0.1,0.2]", 0, "betas", (0.1, 0.2)),
        ("+model.generator_optimizer.weight_decay=0.5", 0, "weight_decay", 0.5),
        ("+model.generator_optimizer.eps=1e-3", 0, "eps", 1e-3),
    )
    done = train_command(f"resume={run_dir}", "trainer.max_steps=4", *(override for override, *_ in changed))
    assert done.returncode == 0, done.stderr
    states = Run.load(run_dir).read_checkpoint()["optimizer_states"]
    for override, group, key, value in changed:
        assert states[group]["param_groups"][0][key] == value, override


def test_a_tiny_learning_rate_stops_the_weights(run_dir, train_command):
    before = Run.load(run_dir).read_checkpoint()["state_dict"]
    assert train_command(f"resume={run_dir}", "trainer.max_steps=6", "model.generator_optimizer.lr=0").returncode == 0
    after = Run.load(run_dir).read_checkpoint()["state_dict"]
    for name in before:
        if "num_batches" not in name and "running" not in name:
            assert torch.equal(before[name], after[name]), name


def test_a_value_can_be_set_back_to_that_of_the_start(run_dir, train_command):
    """Also to the default, after any number of resumes."""
    first = Run.load(run_dir).config.trainer
    assert (first.log_every_n_steps, first.threads) == (1, None)
    for overrides, expected in (
        (("trainer.log_every_n_steps=3", "trainer.threads=1"), (3, 1)),
        ((), (3, 1)),
        (("trainer.log_every_n_steps=1",), (1, 1)),
        (("trainer.threads=null",), (1, None)),
        (("trainer.log_every_n_steps=3",), (3, None)),
    ):
        done = train_command(f"resume={run_dir}", *overrides)
        assert done.returncode == 0, done.stderr
        now = Run.load(run_dir).config.trainer
        assert (now.log_every_n_steps, now.threads) == expected


@pytest.mark.parametrize(
    "changed",
    [
        (
            ("ema.half_life=100", "ema.half_life", 100),
            ("schedule=cosine", "schedule.final", 0.0),
            ("model.d_steps=2", "model.d_steps", 2),
            ("dataset.batch_size=8", "dataset.batch_size", 8),
            ("evaluation.num_samples=30", "evaluation.num_samples", 30),
            ("checkpoint.every_n_steps=2", "checkpoint.every_n_steps", 2),
            ("trainer.gradient_clip_val=1", "trainer.gradient_clip_val", 1),
            ("model/loss=hinge", "model.loss._target_", "lightning_gen.objectives.adversarial.Hinge"),
        ),
        (("ema=none", "ema.half_life", None),),
    ],
)
def test_other_keys_are_applied(run_dir, train_command, changed):
    from omegaconf import OmegaConf

    done = train_command(f"resume={run_dir}", "trainer.max_steps=4", *(override for override, *_ in changed))
    assert done.returncode == 0, done.stderr
    run = Run.load(run_dir)
    for _, key, value in changed:
        assert OmegaConf.select(run.config, key) == value
    assert run.read_summary()["progress"]["step"] == 4


def test_a_directory_that_holds_a_run_is_refused(run_dir, train_command):
    before = contents(run_dir)
    done = train_command(*OPTIONS, f"hydra.run.dir={run_dir}")
    assert done.returncode == 2
    assert f"{run_dir} already contains a run: continue it with resume='{run_dir}'" in done.stderr
    assert contents(run_dir) == before


def test_a_live_run_is_refused(run_dir, train_command):
    run = Run.load(run_dir)
    run.config.resume = str(run_dir)
    run.claim()
    try:
        done = train_command(f"resume={run_dir}", "trainer.max_steps=4")
    finally:
        run.release()
    assert done.returncode == 2
    assert "is in use: another process is training in it" in done.stderr


def test_an_empty_resume_is_told(train_command):
    done = train_command("resume=")
    assert (done.returncode, "resume= is empty" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["a b,c=d ünï x[/x]", "it's"])
def test_any_name_of_a_directory(trained, tmp_path, train_command, name):
    import shutil

    path = Path(shutil.copytree(trained, tmp_path / name))
    done = train_command(f"resume={path}", "trainer.max_steps=4")
    assert done.returncode == 0, done.stderr
    assert Run.load(path).read_summary()["progress"]["step"] == 4


def test_a_path_that_hydra_cannot_read_is_told_to_be_quoted(train_command, tmp_path):
    done = train_command(f"dataset.root={tmp_path}/a=b")
    assert done.returncode == 2
    assert "cannot be read. Put a value with" in done.stderr


@pytest.mark.parametrize("metric", ["eval/nll", "eval/c2st"])
def test_a_refused_metric_leaves_the_run_as_it_was(tmp_path, train_command, metric):
    """The measured metrics are known only after the first evaluation, when the new config has been saved."""
    run = tmp_path / "run"
    small = ("dataset=digits", "model=ae", "networks=mlp", "logger=csv", "hardware=cpu", "report=false")
    made = train_command(*small, "dataset.limit=100", "trainer.max_steps=2", f"hydra.run.dir={run}")
    assert made.returncode == 0, made.stderr
    before = [(run / name).read_bytes() for name in ("config.yaml", "summary.json")]
    more = (f"checkpoint.monitor={metric}", "checkpoint.mode=min", "trainer.max_steps=3")
    refused = train_command(f"resume={run}", *more)
    assert refused.returncode == 2
    assert f"checkpoint.monitor={metric} is " in refused.stderr
    assert [(run / name).read_bytes() for name in ("config.yaml", "summary.json")] == before
    assert train_command(f"resume={run}", "trainer.max_steps=3").returncode == 0


def test_fewer_steps_than_the_run_has_made_are_refused(tmp_path):
    run = train_run(tmp_path / "run", *QUICK, "model=ae", "networks=mlp", "trainer.max_steps=3")[0]
    with pytest.raises(UserError, match=r"trainer\.max_steps=2 is less than the 3 steps that the run has made"):
        resume_run(run.path, 2)
    assert resume_run(run.path, 3)[1]["progress"]["step"] == 3
