"""Shared real data: the digits that scikit-learn carries, and MNIST where its files are."""

import os
from pathlib import Path

import pytest
import torch

from lightning_gen.metrics.make_weights import load_split


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """((train images, labels), (test images, labels))."""
    return load_split("digits", "", train=True), load_split("digits", "", train=False)


@pytest.fixture(scope="session")
def data_root():
    root = Path(os.environ.get("LIGHTNING_GEN_DATA", "data"))
    if not (root / "MNIST").exists():
        pytest.skip(f"no MNIST under {root}")
    return str(root)
