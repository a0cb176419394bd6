"""What the README, docs/python.md and the notebook show in Python works as it stands there."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest

import lightning_gen as lg
from tests.helpers import quick

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
execute = runpy.run_path(str(ROOT / "examples" / "execute.py"))["execute"]  # another package is called `examples` too


def blocks_of(page):
    """The code that uses the package, block after block; blocks that begin with a path are files to add."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [block for block in blocks if not re.match(r"# \S+/\S+\n", block)]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_code_on_a_page(page, tmp_path, monkeypatch):
    """All of it in one go, as a reader would; trainings are cut to a few steps, the digits stand in for MNIST."""
    train = lg.train

    def briefly(*overrides):
        steps = "trainer.max_steps=3" if "resume" in str(overrides) else "trainer.max_steps=2"
        return train(*quick(*(o for o in overrides if "max_steps" not in o), steps))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lg, "train", briefly)
    blocks = blocks_of(page)
    assert any("lg.train(" in block for block in blocks)
    found = {}
    for block in blocks:
        exec(compile(re.sub("mnist(_small)?", "digits", block), page, "exec"), found)
    assert isinstance(found["run"], type(lg.load("runs/latest")))


def test_the_notebook_runs(tmp_path):
    cells = [cell for cell in execute(NOTEBOOK, tmp_path, STEPS=3).cells if cell.cell_type == "code"]
    assert "STEPS = 3" in [cell.source for cell in cells]
    steps = [
        m for cell in cells for out in cell.outputs for m in re.findall("completed: .*? steps", out.get("text", ""))
    ]
    assert steps == ["completed: 3 steps"] * 2
    assert not (NOTEBOOK.parent / "runs").exists()


def test_the_stored_notebook_has_been_run_from_top_to_bottom_without_an_error():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert NOTEBOOK.stat().st_size < 300_000
    assert "\x1b" not in "".join(output.get("text", "") for output in outputs)  # colours of a terminal
