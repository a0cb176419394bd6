"""Records of a run that are empty, cut off, binary or hostile: one line that names the file, before any work."""

import shutil
import time

import pytest
from omegaconf import OmegaConf

from lightning_gen.commands.evaluate import evaluate_run
from lightning_gen.commands.sample import Draw, sample_run
from lightning_gen.errors import UserError
from lightning_gen.evaluation.fitted_priors import attach_prior
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.records import saved_overrides
from lightning_gen.runs.run import Run
from tests.helpers import train_run

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
HOSTILE = {
    "empty": b"",
    "cut": None,  # the first half
    "binary": bytes(range(256)),
    "a list": b"[1, 2]",
    "a number": b"3",
    "nested": b"[" * 20_000,
    "a bomb": BOMB.encode(),
    "large": b" " * (2**24 + 1),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run, _ = train_run(tmp_path_factory.mktemp("runs") / "run", "model=ae", "networks=mlp", "trainer.max_steps=1")
    return run.path


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def spoil(path, name):
    content = HOSTILE[name]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)


@pytest.mark.parametrize("name", HOSTILE)
def test_config(run_dir, name):
    spoil(run_dir / "config.yaml", name)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^[^\n]*config\.yaml [^\n]*$"):
        Run.load(run_dir)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "a bomb"])
def test_summary(run_dir, name, monkeypatch):
    monkeypatch.setattr(SampleEvaluator, "__call__", lambda *_, **__: pytest.fail("the work has begun"))
    spoil(run_dir / "summary.json", name)
    with pytest.raises(UserError, match=r"^[^\n]*summary\.json [^\n]*$"):
        evaluate_run(run_dir, ["checkpoint=last"])


@pytest.mark.parametrize("part", ['"evaluations": 3', '"evaluations": [3]', '"metrics": []', '"priors": [1]'])
def test_a_summary_whose_parts_have_other_types(run_dir, part):
    (run_dir / "summary.json").write_text("{" + part + "}")
    with pytest.raises(UserError, match=r"summary\.json is not a summary"):
        Run.load(run_dir).read_summary()


@pytest.mark.parametrize("name", ["cut", "binary", "nested", "a bomb", "large"])
def test_overrides(run_dir, name):
    file = run_dir / ".hydra" / "overrides.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("- 'model=vae'\n- 'seed=3'\n")
    assert saved_overrides(run_dir) == ["model=vae", "seed=3"]
    spoil(file, name)
    with pytest.raises(UserError, match=r"^[^\n]*overrides\.yaml [^\n]*$"):
        saved_overrides(run_dir)


@pytest.mark.parametrize("name", HOSTILE)
def test_prior(run_dir, tmp_path, name):
    run = Run.load(run_dir)
    attach_prior(run, load_model(run, "last"), "gaussian", "last")
    spoil(run_dir / "priors" / "gaussian.pt", name)
    with pytest.raises(UserError, match=r"^[^\n]*gaussian\.pt cannot be read: delete it"):
        sample_run(run_dir, "last", 2, tmp_path, "grid", Draw(prior="gaussian"))


def test_records_of_another_shape(run_dir):
    (run_dir / "config.yaml").write_text("model: {name: ae}\n")
    with pytest.raises(UserError, match=r"is not the config of a run: it lacks networks, dataset, trainer"):
        Run.load(run_dir)
    (run_dir / "config.yaml").unlink()
    (run_dir / "config.yaml").mkdir()
    with pytest.raises(UserError, match="it is not a file"):
        Run.load(run_dir)


def test_what_a_run_writes_has_no_aliases(trained):
    config = Run.load(trained).config
    assert OmegaConf.is_dict(config.model)
    assert "*" not in (trained / "config.yaml").read_text()
