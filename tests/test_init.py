"""What `import lightning_gen` costs and gives."""

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import lightning_gen as lg

ROOT = Path(__file__).parents[1]


def test_importing_the_package_imports_no_framework():
    heavy = ("torch", "numpy", "hydra", "omegaconf", "pytorch_lightning", "wandb", "matplotlib")
    code = f"import sys, lightning_gen; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_function_documents_what_it_raises_and_states_its_types():
    from lightning_gen.metrics.image_sets import Features
    from lightning_gen.runs.trained import TrainedRun

    for function, result in ((lg.load, TrainedRun), (lg.train, TrainedRun), (lg.frechet_distance, float)):
        assert {"Args:", "Raises:"} <= set(inspect.getdoc(function).split())
        signature = inspect.signature(function)
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
        assert signature.return_annotation == result.__name__
    documented = inspect.getdoc(lg.frechet_distance)
    assert [name for name in typing.get_args(Features) if f"`{name}`" not in documented] == []


def test_a_mistake_is_the_error_that_the_package_exports():
    from lightning_gen.errors import UserError

    assert lg.UserError is UserError
