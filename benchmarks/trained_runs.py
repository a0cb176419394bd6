"""What the benchmarks share that train many runs: a run that is there is not trained again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning_gen as lg


def summary_of(folder: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """The summary of the run in this folder, which is trained with these overrides unless it has been."""
    file = folder / "summary.json"
    if not file.exists() or json.loads(file.read_text())["status"] != "completed":
        lg.train(*overrides, f"hydra.run.dir={folder}")
    return json.loads(file.read_text())
