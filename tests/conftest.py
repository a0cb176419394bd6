import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks of the tests are too small for more
os.environ["WANDB_MODE"] = "offline"

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["LIGHTNING_GEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def data_root() -> Path:
    """The folder of the real MNIST and Fashion-MNIST, where it is."""
    root = Path(os.environ.get("LIGHTNING_GEN_DATA", "data"))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip(f"the real MNIST is not under {root}")
    return root
