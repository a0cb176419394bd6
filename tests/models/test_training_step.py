"""A training step calls nothing that takes longer than it needs to: no Hydra, and no attributes of modules."""

import sys
from types import FrameType

import pytest
from pytorch_lightning import Callback
from torch import nn

from tests.choices import batch_of, fit, made, models, rows


class Watch(Callback):
    """Notes the packages whose functions are called in a training step, and what this one sets as nn.Module does."""

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self.attributes: set[str] = set()

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        self.packages.add(package(frame))
        if frame.f_code is nn.Module.__setattr__.__code__ and package(frame.f_back) == "lightning_gen":
            self.attributes.add(frame.f_locals["name"])

    def on_train_batch_start(self, *_: object) -> None:
        sys.setprofile(self.note)

    def on_train_batch_end(self, *_: object) -> None:
        sys.setprofile(None)


def package(frame: FrameType | None) -> str:
    return "" if frame is None else frame.f_globals.get("__name__", "").partition(".")[0]


@pytest.mark.parametrize("model", models())
def test_a_training_step_calls_nothing_of_hydra_and_sets_nothing_as_modules_do(model):
    watch = Watch()
    for row in rows(model, together=1):
        fit(made(model, row), batch_of(6), callbacks=[watch])
    assert "lightning_gen" in watch.packages
    assert not watch.packages & {"hydra", "omegaconf"}
    assert not watch.attributes
