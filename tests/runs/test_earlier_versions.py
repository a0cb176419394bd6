"""Run directories of earlier versions load, go on, evaluate and sample."""

import importlib
import inspect
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_gen.commands.evaluate import evaluate_run
from lightning_gen.commands.sample import Draw, sample_run
from lightning_gen.config.build import build_model
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run
from lightning_gen.runs.upgrade import BEFORE, upgraded
from tests.helpers import make_run
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


@pytest.mark.parametrize("name", ["gan_0_1_0", "hierarchical_vae_0_1_0"])
def test_it_goes_on_to_the_weights_that_its_own_version_reached(tmp_path, train_command, name):
    """From six steps to nine. The VAE with two layers has its objective as a word and its number of samples as `k`."""
    run_dir = Path(shutil.copytree(EARLIER / name, tmp_path / "run"))
    done = train_command(f"resume={run_dir}", "trainer.max_steps=9")
    assert done.returncode == 0, done.stderr
    check_weights(Run.load(run_dir).read_checkpoint()["state_dict"], RECORD[f"resumed_{name}"])


def test_it_is_evaluated_and_sampled(run_dir, tmp_path):
    entry = evaluate_run(run_dir, ["evaluation.num_samples=20"])
    assert entry["metrics"]["eval/fid_classifier"] > 0
    assert Run.load(run_dir).read_summary()["evaluations"] == [entry]
    assert "4 samples" in sample_run(run_dir, "last", 4, tmp_path / "out", "grid", Draw(label=3))


@pytest.mark.parametrize("target", BEFORE)
def test_what_could_not_be_chosen_then_is_as_it_was(target):
    """A config without the option gets the former behaviour, one that states it keeps its own."""
    stated = {"_target_": target, **dict.fromkeys(BEFORE[target], 7)}
    old, new = upgraded(OmegaConf.create({"nodes": [{"_target_": target}, stated]})).nodes
    assert {key: old[key] for key in BEFORE[target]} == BEFORE[target]
    assert all(new[key] == 7 for key in BEFORE[target])
    module, name = target.rsplit(".", 1)
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    assert set(BEFORE[target]) <= set(signature.parameters)


def test_lecam_of_then_had_half_the_weight():
    old = {"_target_": "lightning_gen.objectives.penalties.LeCam", "weight": 0.3, "decay": 0.99, "interval": 1}
    node = upgraded(OmegaConf.create({"lecam": old})).lecam
    assert node._target_ == "lightning_gen.objectives.logit_penalties.LeCam"
    assert (node.weight, node.rectified, node.debias) == (0.15, False, False)


@pytest.mark.parametrize("networks", ["r3gan_small", "stylegan2"])
def test_a_conditional_discriminator_of_then_loads(tmp_path, networks):
    """A head and a plain projection; [1, 2, 1] between R3GAN's stages; no mean style in StyleGAN2."""
    small = {
        "r3gan_small": ["networks.encoder.widths=8"],
        "stylegan2": ["networks.encoder.channel_base=256", "networks.encoder.channel_max=8"],
    }[networks]
    run = make_run(tmp_path, "model=gan", "conditional=true", f"networks={networks}", *small)
    for player in ("encoder", "decoder"):
        for key in BEFORE[run.config.networks[player]["_target_"]]:
            del run.config.networks[player][key]
    run.config.num_classes = 10
    run.save()
    model = build_model(Run.load(tmp_path).config, (1, 8, 8))
    assert {"discriminator.head.weight", "discriminator.embedding.weight"} <= set(model.state_dict())
    assert not any("w_avg" in name for name in model.state_dict())
    kernels = [tuple(buffer.shape) for name, buffer in model.named_buffers() if name.endswith("kernel")]
    assert set(kernels) == {(3, 3) if networks == "r3gan_small" else (4, 4)}
