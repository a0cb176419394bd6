"""Configs with random changes: each is accepted and builds, or one message names a key that was changed."""

import copy
import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.training.train import prepare
from tests.helpers import QUICK

BASES = (
    ("model=gan", "model/penalty=[r1,lecam]", "model/augment=ada", "schedule=cosine"),
    ("model=vae", "model/posterior=iaf", "model/objective=iwae", "ema=average"),
    ("model=ae", "model/regularizer=l1", "model/corruption=gaussian", "schedule=step"),
    ("model=wae", "model/divergence=gan", "evaluation/extractor=random"),
    ("model=vae", "model/prior=mixture", "model/likelihood=gaussian", "dataset=gaussians", "evaluation=standard"),
)
HUGE = 2**62  # larger than any memory: a value in between could be granted, and end the process
VALUES: list[Any] = [None, True, False, 0, 1, 2, -1, HUGE, -HUGE, 0.0, 0.5, -0.5, 1.5, 1e308]
VALUES += [
    float("nan"),
    float("inf"),
    "",
    "no",
    "x",
    "true",
    "1e400",
    "ünï",
    "a=b",
    "[/x]",
    [],
    [0],
    ["a"],
    [1, 2, 3],
]
VALUES += [{}, {"a": 1}, {"_target_": "builtins.print"}, {"_target_": "no.such.thing"}]
# Chosen by the program itself, or not of the config's own kind: where code comes from is another test's matter.
LEFT_ALONE = r".*_(target|partial|convert|recursive|args)_$|(id|command|resume|encoder_from)$|.*\b(root|cache_dir)$"


@lru_cache
def tree(base: tuple[str, ...]) -> dict[str, Any]:
    """The config of these overrides, resolved, in small."""
    nodes = ["networks=mlp", "networks.encoder.widths=[4]", "model.latent_dim=3", "trainer.max_steps=10"]
    config = compose([*QUICK, *nodes, *base])
    config.command = ""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


@lru_cache
def keys(base: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The paths of all groups and values."""

    def below(node: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        own = [path] if path and not re.match(LEFT_ALONE, ".".join(path)) else []
        parts = node.items() if isinstance(node, dict) else ()
        return own + [found for key, value in parts for found in below(value, (*path, key))]

    return below(tree(base), ())


@st.composite
def changed(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A config with one to three changes, and the keys that were changed."""
    base = draw(st.sampled_from(BASES))
    config, names = copy.deepcopy(tree(base)), []
    for path in draw(st.lists(st.sampled_from(keys(base)), min_size=1, max_size=3, unique=True)):
        node: Any = config
        for key in path[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or path[-1] not in node:
            continue  # a change before has replaced the group
        kind = draw(st.sampled_from(["value", "value", "value", "value", "new key", "no key"]))
        if kind == "no key":
            del node[path[-1]]
        else:
            node[path[-1] + "_x" * (kind == "new key")] = draw(st.sampled_from(VALUES))
        names += path
    return config, names


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changed())
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("here")
def test_a_config_with_random_changes_builds_or_a_message_names_the_key(made):
    config, names = made
    try:
        prepare(Run.create(Path("run"), OmegaConf.create(config)))
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) <= 2
        assert any(name in message for name in names), (names, message)
