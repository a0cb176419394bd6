"""The texts of README.md and docs/extending.md are enough to add networks, data, a loss, a penalty, a likelihood and a model."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_gen.runs.run import Run
from tests.helpers import quick

ROOT = Path(__file__).parents[1]
PAGE, README = ((ROOT / name).read_text() for name in ("docs/extending.md", "README.md"))


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with each code block that begins with a path put there."""
    folder = tmp_path_factory.mktemp("extended")
    for part in ("lightning_gen", "conf", "train.py"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    for page, count in ((PAGE, 4), (README, 8)):
        blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page, re.DOTALL)
        assert len(blocks) == count
        for path, text in blocks:
            assert not (folder / path).exists()
            (folder / path).write_text(text)
    return folder


# Runs several command lines, which would each need seconds to import everything, one after the other.
SEVERAL = """
import contextlib, io, json, runpy, sys
results = []
for words in json.loads(sys.argv[1]):
    sys.argv, error, code = ["train.py", *words], io.StringIO(), 0
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            runpy.run_path("train.py", run_name="__main__")
        except SystemExit as stop:
            code = stop.code
    results.append([code, error.getvalue()])
print("RESULTS", json.dumps(results))
"""
OF_README = ("networks=linear", "dataset=stripes", "model/loss=pearson", "model/penalty=roth")
TRAINED = {
    "vae": ("model=vae", "model/likelihood=laplace", "model/objective=iwae"),
    "moment_matching": ("model=moment_matching", "ema=average", "schedule=cosine", "trainer.gradient_clip_val=1"),
    "with_classes": ("model=with_classes", "conditional=true"),
    "readme": (*OF_README, "evaluation/extractor=random"),  # no classifier to train on stripes
}
REFUSED = {
    "error: model=moment_matching cannot be conditioned on the class: set conditional=false.": (
        "model=moment_matching",
        "conditional=true",
    ),
    "must be a number, above 0": ("model=vae", "model/likelihood=laplace", "model.likelihood.scale=-1"),
}


def add_classes(folder):
    """The hunks of the page's diff, applied to a copy of its model family."""
    (diff,) = re.findall(r"```diff\n(.*?)\n```", PAGE, re.DOTALL)
    text = (folder / "lightning_gen/models/moment_matching.py").read_text()
    for hunk in diff.split("\n\n"):
        before, after = ("\n".join(line[1:] for line in hunk.split("\n") if line[0] in kept) for kept in (" -", " +"))
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / "lightning_gen/models/with_classes.py").write_text(text)
    config = (folder / "conf/model/moment_matching.yaml").read_text()
    (folder / "conf/model/with_classes.yaml").write_text(config.replace("moment_matching", "with_classes"))


def test_what_was_added_trains_with_what_is_there_and_what_it_cannot_do_is_told(extended):
    add_classes(extended)
    assert f"python train.py {' '.join(OF_README)}" in README
    common = ["networks=mlp", "trainer.max_steps=2"]
    lines = [[*quick(*common, *overrides), f"hydra.run.dir={name}"] for name, overrides in TRAINED.items()]
    lines += [quick(*common, *overrides) for overrides in REFUSED.values()]
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, json.dumps(lines)], cwd=extended, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.partition("RESULTS ")[2])
    for name, (code, error) in zip(TRAINED, results, strict=False):
        assert code == 0, error
        run = Run(extended / name, OmegaConf.create())  # its config names what only the copy has
        assert run.read_summary()["progress"]["step"] == 2
    for told, (code, error) in zip(REFUSED, results[len(TRAINED) :], strict=True):
        assert code == 2
        assert told in error
        assert told in PAGE  # the page says so
