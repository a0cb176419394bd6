"""What the README shows works as it stands there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lightning_gen.cli import app
from tests.helpers import QUICK

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_listed():
    commands = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert set(re.findall(r"^lightning-gen (\S+)", README, re.MULTILINE)) == commands


def test_the_examples_of_adding_ones_own(tmp_path):
    """Each code block that begins with a path is put there, in a copy; then they train together."""
    for part in ("lightning_gen", "conf", "train.py"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 8
    for path, text in blocks:
        assert not (tmp_path / path).exists()
        (tmp_path / path).write_text(text)
    names = ("networks=linear", "dataset=stripes", "model/loss=pearson", "model/penalty=roth")
    assert f"python train.py {' '.join(names)}" in README
    command = [sys.executable, "train.py", *QUICK, *names, "trainer.max_steps=2", "hydra.run.dir=out"]
    command.append("evaluation/extractor=random")  # no classifier to train on stripes
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["progress"]["step"] == 2
