"""Run a notebook from its first cell to its last and write the outputs into it.

python examples/execute.py examples/quickstart.ipynb
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TIMEOUT = 600  # seconds, for one cell


def execute(path: Path, folder: Path, **parameters: Any) -> nbformat.NotebookNode:
    """Run the notebook at `path` with `folder` as its working directory, by this checkout's package.

    `parameters` take the place of the values in its cell with the tag `parameters`.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            for name, value in parameters.items():
                cell.source = re.sub(rf"^{name} = \S+", f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
    places = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        record_timing=False,  # it would change the file each time
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/jpeg", None)  # a picture comes as PNG and again as JPEG
    return notebook


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(execute(target, Path(folder)), target)
