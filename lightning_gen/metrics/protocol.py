"""How a number was measured: two numbers compare only where this is equal."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Metrics = dict[str, float]
Protocols = dict[str, dict[str, Any]]
Numbers = tuple[Metrics, Protocols]
"""Values by name, ``eval/...``, and the protocol of each."""


def numbers(values: Mapping[str, float], **protocol: Any) -> Numbers:
    """Values by their names without ``eval/`` that were measured alike; each protocol names its metric."""
    metrics = {f"eval/{name}": value for name, value in values.items()}
    return metrics, {f"eval/{name}": {"metric": name, **protocol} for name in values}


@lru_cache
def versions() -> dict[str, str]:
    """The versions of what computes the numbers."""
    found = {"python": platform.python_version()}
    for package in ("lightning-gen", "torch", "torchmetrics", "torch-fidelity", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
