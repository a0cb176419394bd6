"""Run directories of earlier versions load, go on, evaluate and sample."""

import shutil
from pathlib import Path

import pytest

from lightning_gen.commands.evaluate import evaluate_run
from lightning_gen.commands.sample import Draw, sample_run
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run
from tests.test_recorded_weights import RECORD, check_weights

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A conditional GAN with a schedule, a penalty and an average, six steps long, of version 0.1.0."""
    return Path(shutil.copytree(EARLIER / "gan_0_1_0", tmp_path / "run"))


def test_it_loads_with_its_average(run_dir):
    model = load_model(Run.load(run_dir))
    assert (model.averaged, model.num_classes, model.step_loaded) == (True, 10, 6)
    assert model.sample(4).shape == (4, 1, 8, 8)


def test_it_goes_on_to_the_weights_that_its_own_version_reached(run_dir, train_command):
    done = train_command(f"resume={run_dir}", "trainer.max_steps=9")
    assert done.returncode == 0, done.stderr
    check_weights(Run.load(run_dir).read_checkpoint()["state_dict"], RECORD["resumed_gan_0_1_0"])


def test_it_is_evaluated_and_sampled(run_dir, tmp_path):
    entry = evaluate_run(run_dir, ["evaluation.num_samples=20"])
    assert entry["metrics"]["eval/fid_classifier"] > 0
    assert Run.load(run_dir).read_summary()["evaluations"] == [entry]
    assert "4 samples" in sample_run(run_dir, "last", 4, tmp_path / "out", "grid", Draw(label=3))
