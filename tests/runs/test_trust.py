"""A run directory of a stranger runs no code and reads no environment; secrets stay out of what is written."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_gen.errors import UserError
from lightning_gen.runs.resume import overrides_of
from lightning_gen.runs.run import Run
from lightning_gen.runs.trust import TRUST, targets_of_configs
from tests.helpers import QUICK

EARLIER = Path(__file__).parent / "earlier" / "gan_0_1_0"
EVIL = [
    "pathlib.Path.write_text",
    "torch.load",
    "joblib.load",
    "torch.ops.load_library",
    "os.system",
    "lightning_gen.training.launch.start_worker",
    "hydra.utils.get_method",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "torch.optim.lr_scheduler.LambdaLR",
]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EARLIER, tmp_path / "run"))


def change(run_dir: Path, key: str, value: object) -> None:
    config = OmegaConf.load(run_dir / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run_dir / "config.yaml")


@pytest.mark.parametrize("target", EVIL)
@pytest.mark.parametrize("key", ["networks.encoder", "callbacks.more", "model.deep.inside"])
def test_names_that_are_not_the_packages_own_are_not_called(run_dir, target, key):
    change(run_dir, key, {"_target_": target, "args": ["x"]})
    with pytest.raises(UserError, match=rf"calls {target} \({key}\)"):
        Run.load(run_dir)


def test_a_name_that_the_user_trusts_may_be_called(run_dir, monkeypatch):
    change(run_dir, "callbacks.mine", {"_target_": "my_lab.callbacks.Mine"})
    for trusted in ("my_lab.callbacks.Mine", "my_lab", "other, my_lab.callbacks"):
        monkeypatch.setenv(TRUST, trusted)
        assert "mine" in Run.load(run_dir).config.callbacks
    monkeypatch.setenv(TRUST, "my_la")
    with pytest.raises(UserError, match=f"{TRUST}=my_lab.callbacks.Mine"):
        Run.load(run_dir)


def test_every_name_of_the_packages_configs_may_be_called():
    assert {"lightning_gen.models.gan.GAN", "torch.optim.Adam", "torch.optim.Adagrad"} <= targets_of_configs()


def test_the_environment_is_not_read(run_dir, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hunter2")
    change(run_dir, "evaluation.name", "${oc.env:MY_SECRET}")
    assert Run.load(run_dir).config.evaluation.name == "${oc.env:MY_SECRET}"
    monkeypatch.setenv(TRUST, "MY_SECRET")
    assert Run.load(run_dir).config.evaluation.name == "hunter2"


def test_a_worker_trusts_what_its_parent_has_written(run_dir, monkeypatch):
    """The parent composed the config from the user's own command line; a secret stays unwritten all the same."""
    monkeypatch.setenv("MY_SECRET", "hunter2")
    change(run_dir, "evaluation.name", "${oc.env:MY_SECRET}")
    change(run_dir, "callbacks.mine", {"_target_": "my_lab.callbacks.Mine"})
    run = Run.load(run_dir, own=True)
    assert run.config.evaluation.name == "hunter2"
    assert OmegaConf.to_container(run.recorded())["evaluation"]["name"] == "${oc.env:MY_SECRET}"
    assert run.config.callbacks.mine._target_ == "my_lab.callbacks.Mine"


def test_overrides_of_hydra_are_not_taken_over(run_dir):
    (run_dir / ".hydra" / "overrides.yaml").write_text(
        "- model=vae\n- +hydra.callbacks.x._target_=os.system\n- hydra.run.dir=/tmp/x\n- ++hydra/launcher=joblib\n"
    )
    assert overrides_of(run_dir, []) == ["model=vae"]


def test_an_override_of_a_stranger_that_calls_something_is_refused_on_resume(run_dir, train_command):
    (run_dir / ".hydra" / "overrides.yaml").write_text("- model=gan\n- networks=mlp\n")
    done = train_command(f"resume={run_dir}", "trainer.max_steps=9", "+callbacks.x._target_=os.system")
    assert done.returncode == 2
    assert "calls os.system (callbacks.x)" in done.stderr


def test_a_secret_of_the_command_line_is_written_nowhere(tmp_path, train_command, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hunter2")
    options = [o for o in QUICK if not o.startswith("logger=")]
    run_dir = tmp_path / "run"
    secret = "logger.wandb.project=${oc.env:MY_SECRET}"
    more = (
        "model=ae",
        "networks=mlp",
        "trainer.max_steps=1",
        "logger.wandb.mode=offline",
        f"hydra.run.dir={run_dir}",
    )
    done = train_command(*options, *more, secret)
    assert done.returncode == 0, done.stderr
    assert "logger.wandb.project=${oc.env:MY_SECRET}" in (run_dir / ".hydra" / "overrides.yaml").read_text()
    assert Run.load(run_dir).config.logger.wandb.project == "${oc.env:MY_SECRET}"
    for file in ("config.yaml", "summary.json", "metrics.csv"):
        assert "hunter2" not in (run_dir / file).read_text()
