"""A wheel installs with its configs, and trains from another folder."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content alone, as pip would install it without dependencies."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = folder / "site"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


# Runs several command lines, which would each need seconds to import everything, one after the other.
COMMANDS = """
import json, runpy, sys
import lightning_gen
print(lightning_gen.__file__)
for words in json.loads(sys.argv[1]):
    sys.argv = ["lightning-gen", *words]
    try:
        runpy.run_module("lightning_gen", run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            raise
"""


def run(installed, folder, *commands):
    """The commands, with the wheel's package and not the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    line = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(str(installed)), done.stdout + done.stderr
    return done


def test_the_wheel_holds_types_configs_sweeps_and_weights(installed):
    package = installed / "lightning_gen"
    configs = ("conf/train.yaml", "conf/model/gan.yaml", "conf/sweeps/gan_learning_rate.yaml")
    for path in ("py.typed", *configs, "data/packaged/mnist_small.npz", "data/packaged/LICENSE"):
        assert (package / path).is_file()
    assert {p.stem for p in (package / "metrics" / "weights").glob("*.pt")} >= {"digits", "mnist", "fashion_mnist"}


def test_the_metadata_lead_to_the_project(installed):
    metadata = next(installed.glob("*.dist-info/METADATA")).read_text()
    for kind in ("Homepage", "Documentation", "Changelog", "Issues"):
        assert f"Project-URL: {kind}, https://" in metadata
    versions = re.findall(r"Programming Language :: Python :: (3\.\d+)", metadata)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert versions
    assert re.search(r"python: \[(.*)\]", workflow)[1] == ", ".join(f'"{version}"' for version in versions)


def test_an_installed_package_trains_on_two_processes_and_samples(installed, tmp_path):
    """Workers start with the same package, wherever they are started from, and what they print is seen."""
    own = tmp_path / "mine" / "experiment"
    own.mkdir(parents=True)
    small = "trainer: {max_steps: 2}\nevaluation: {num_samples: 20, held_out: 100}\nreport: false\n"
    (own / "short.yaml").write_text("# @package _global_\n" + small)
    options = [
        "model=gan",
        "networks=mlp",
        "networks.encoder.widths=[16]",
        "logger=csv",
        "hardware=cpu",
        "trainer.devices=2",
        "hydra.run.dir=out",
    ]
    train = ["train", "--config-dir", "mine", "experiment=short", *options]
    done = run(installed, tmp_path, train, ["sample", "out", "-n", "4", "-o", "pictures"])
    assert done.returncode == 0, done.stderr
    assert "completed: 2 steps" in done.stdout
    assert "step 2/2" in done.stderr
    assert (tmp_path / "pictures" / "grid.png").is_file()
