"""The texts of docs/extending.md are enough to add a likelihood and a model family."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_gen.runs.run import Run
from tests.helpers import QUICK

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with each code block that begins with a path put there."""
    folder = tmp_path_factory.mktemp("extended")
    for part in ("lightning_gen", "conf", "train.py"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for path, text in blocks:
        assert not (folder / path).exists()
        (folder / path).write_text(text)
    return folder


def train(folder, *overrides):
    command = [sys.executable, "train.py", *QUICK, "networks=mlp", "trainer.max_steps=2", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=vae", "model/likelihood=laplace", "model/objective=iwae"),
        ("model=moment_matching", "ema=average", "schedule=cosine", "trainer.gradient_clip_val=1"),
    ],
)
def test_what_was_added_trains_with_what_is_there(extended, overrides):
    name = overrides[0].partition("=")[2]
    done = train(extended, *overrides, f"hydra.run.dir={name}")
    assert done.returncode == 0, done.stderr
    run = Run(extended / name, OmegaConf.create())  # its config names what only the copy has
    assert run.read_summary()["progress"]["step"] == 2


def test_the_lines_that_support_classes(extended):
    """The hunks of the page's diff, applied to its model family, let it train with `conditional=true`."""
    (diff,) = re.findall(r"```diff\n(.*?)\n```", PAGE, re.DOTALL)
    text = (extended / "lightning_gen/models/moment_matching.py").read_text()
    for hunk in diff.split("\n\n"):
        before, after = ("\n".join(line[1:] for line in hunk.split("\n") if line[0] in kept) for kept in (" -", " +"))
        assert text.count(before) == 1
        text = text.replace(before, after)
    (extended / "lightning_gen/models/with_classes.py").write_text(text)
    config = (extended / "conf/model/moment_matching.yaml").read_text()
    (extended / "conf/model/with_classes.yaml").write_text(config.replace("moment_matching", "with_classes"))
    done = train(extended, "model=with_classes", "conditional=true")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ("model=moment_matching", "conditional=true"),
            "error: model=moment_matching cannot be conditioned on the class: set conditional=false.\n",
        ),
        (("model=vae", "model/likelihood=laplace", "model.likelihood.scale=-1"), "must be a number, above 0"),
    ],
)
def test_what_it_cannot_do_is_told(extended, overrides, told):
    done = train(extended, *overrides)
    assert done.returncode == 2
    assert told in done.stderr
    assert told.strip() in PAGE  # the page says so
