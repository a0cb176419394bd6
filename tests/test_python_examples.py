"""What the README, docs/python.md and the notebook show in Python works as it stands there."""

import ast
import re
import runpy
from pathlib import Path

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter

import lightning_gen as lg
from tests.helpers import quick

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
SOURCE = "import os, lightning_gen; print(lightning_gen.__file__, os.getcwd())"
execute = runpy.run_path(str(ROOT / "examples" / "execute.py"))["execute"]  # another package is called `examples` too


def blocks_of(page):
    """The code that uses the package, block after block; blocks that begin with a path are files to add."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [block for block in blocks if not re.match(r"# \S+/\S+\n", block)]


@pytest.fixture
def brief(tmp_path, monkeypatch):
    """In a folder of its own: trainings are cut to two steps, and to one more where they go on."""
    train = lg.train

    def briefly(*overrides):
        steps = "trainer.max_steps=3" if "resume" in str(overrides) else "trainer.max_steps=2"
        return train(*quick(*(o for o in overrides if "max_steps" not in o), steps))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lg, "train", briefly)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_code_on_a_page(page, brief):
    """All of it in one go, as a reader would; the digits stand in for MNIST."""
    blocks = blocks_of(page)
    assert any("lg.train(" in block for block in blocks)
    found = {}
    for block in blocks:
        exec(compile(re.sub("mnist(_small)?", "digits", block), page, "exec"), found)
    assert isinstance(found["run"], type(lg.load("runs/latest")))


def test_the_notebook_runs(brief, capsys):
    """Cell after cell in this process, which has imported everything; what a cell ends with is shown."""
    found, shown = {}, []
    for cell in (cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"):
        tree = ast.parse(cell.source)
        last = ast.unparse(tree.body.pop()) if isinstance(tree.body[-1], ast.Expr) else "None"
        exec(compile(tree, NOTEBOOK.name, "exec"), found)
        shown.append(DisplayFormatter().format(eval(last, found)))
    assert re.findall("completed: .*? steps", capsys.readouterr().out) == ["completed: 2 steps"] * 2
    assert sum("image/png" in data for data, _ in shown) >= 5


def test_a_notebook_is_executed_with_other_parameters_by_this_package(tmp_path):
    new = nbformat.v4.new_notebook()
    new.cells = [nbformat.v4.new_code_cell(source) for source in ("STEPS = 1000", "STEPS", SOURCE, "pass")]
    new.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new, tmp_path / "new.ipynb")
    cells = execute(tmp_path / "new.ipynb", tmp_path, STEPS=3).cells
    assert cells[0].source == "STEPS = 3"
    assert cells[1].outputs[0].data["text/plain"] == "3"
    assert cells[2].outputs[0].text.split() == [lg.__file__, str(tmp_path)]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]


def test_the_stored_notebook_has_been_run_from_top_to_bottom_without_an_error():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert NOTEBOOK.stat().st_size < 300_000
    assert "\x1b" not in "".join(output.get("text", "") for output in outputs)  # colours of a terminal
