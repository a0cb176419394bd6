"""Protocols: how a number was measured. Numbers can be compared only if their protocols are equal."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Metrics = dict[str, float]
Protocols = dict[str, dict[str, Any]]
Numbers = tuple[Metrics, Protocols]
"""Values by name, such as ``eval/fid_classifier``, and the protocol of each."""


def numbers(values: Mapping[str, float], **protocol: Any) -> Numbers:
    """Numbers with the same protocol, from values by name without ``eval/``; each protocol also names its metric."""
    metrics = {f"eval/{name}": value for name, value in values.items()}
    return metrics, {f"eval/{name}": {"metric": name, **protocol} for name in values}


@lru_cache
def versions() -> dict[str, str]:
    """The versions of Python and of the packages that compute the numbers."""
    found = {"python": platform.python_version()}
    for package in ("lightning-gen", "torch", "torchmetrics", "torch-fidelity", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
