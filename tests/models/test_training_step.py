"""What is built from a config has nothing of Hydra in it: at each step that would cost more than the update itself."""

import sys
from types import FrameType

import pytest
from pytorch_lightning import Callback

from tests.choices import batch_of, fit, made, models, rows


class Watch(Callback):
    """Notes the packages whose functions are called in a training step."""

    def __init__(self) -> None:
        self.packages: set[str] = set()

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        self.packages.add(frame.f_globals.get("__name__", "").partition(".")[0])

    def on_train_batch_start(self, *_: object) -> None:
        sys.setprofile(self.note)

    def on_train_batch_end(self, *_: object) -> None:
        sys.setprofile(None)


@pytest.mark.parametrize("model", models())
def test_a_training_step_calls_nothing_of_hydra(model):
    watch = Watch()
    for row in rows(model, together=1):
        fit(made(model, row), batch_of(6), callbacks=[watch])
    assert "lightning_gen" in watch.packages
    assert not watch.packages & {"hydra", "omegaconf"}
