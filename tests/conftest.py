import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks of the tests are too small for more
os.environ["WANDB_MODE"] = "offline"

import signal
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities import registry

from lightning_gen import progress
from tests import drawing
from tests.browser import Browser, find_chromium
from tests.composing import compose_fast
from tests.helpers import Done, ForkedWorker

torch.set_num_threads(1)
for name in ("SIGINT", "SIGHUP"):  # tests send them, but nohup and background shells have them ignored
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(getattr(signal, name), default)


progress.DELAY = 1e6  # on a slow machine, no test finds a line about work that takes long
drawing.draw_pixels()
registry.entry_points = lru_cache(registry.entry_points)  # each Trainer reads the metadata of all packages
compose_fast()
gc.freeze()  # what is imported stays; without this the garbage collector takes 7 % of the time
gc.set_threshold(50_000, 20, 20)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or libraries report what is left at the end of the process


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores, because some tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["LIGHTNING_GEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def train_command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """`python train.py ...` in this process, which has imported all of it; with several devices, its workers are real."""
    from lightning_gen.commands import train as app

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        capfd.readouterr()
        code = 0
        try:
            app.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Done(code, *capfd.readouterr())

    return call


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported everything: importing it again takes longer than these runs.

    What they print is not captured. The imports are over when the test begins, which may measure its time.
    """
    first = ForkedWorker.context.Process(target=int)
    first.start()
    first.join()
    monkeypatch.setattr("lightning_gen.training.launch.start_worker", ForkedWorker)


@pytest.fixture
def drawn_pictures() -> Iterator[None]:
    """The pictures of evaluations are those that users get, not pixels."""
    with drawing.drawn_pictures():
        yield


@pytest.fixture
def data_root() -> Path:
    """The folder of the real MNIST and Fashion-MNIST, where it is."""
    root = Path(os.environ.get("LIGHTNING_GEN_DATA", "data"))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip(f"the real MNIST is not under {root}")
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    started = Browser(executable)
    yield started
    started.close()
