"""The number of threads follows what is faster; it is the user's where a number is given."""

import pytest
import torch

from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks import threads
from lightning_gen.training.callbacks.threads import WINDOW, Threads, hint_of_crowd
from lightning_gen.training.train import prepare
from tests.helpers import train_run


@pytest.fixture(autouse=True)
def _threads_of_the_suite(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_before", [2])  # a process that computes with two
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock of steps that take another time with one thread than with several."""

    def __init__(self, one: float, several: float) -> None:
        self.one, self.several, self.now = one, several, 0.0

    def step(self, callback: Threads) -> None:
        self.now += self.one if torch.get_num_threads() == 1 else self.several
        callback.on_step_end(None, None)


@pytest.mark.parametrize(("one", "several", "chosen"), [(1.0, 0.6, 2), (1.0, 8.0, 1)])
def test_the_faster_number_is_chosen(one, several, chosen):
    torch.set_num_threads(2)
    machine = Machine(one, several)
    callback = Threads(clock=lambda: machine.now)
    callback.on_train_start(None, None)
    for _ in range(2 * WINDOW):
        machine.step(callback)
    assert torch.get_num_threads() == chosen


def test_the_choice_follows_the_machine():
    torch.set_num_threads(2)
    machine = Machine(1.0, 0.6)
    callback = Threads(clock=lambda: machine.now)
    callback.on_train_start(None, None)
    for _ in range(2 * WINDOW):
        machine.step(callback)
    assert torch.get_num_threads() == 2
    machine.several = 8.0  # other programs begin
    chosen = []
    for _ in range(400):
        machine.step(callback)
        chosen.append(torch.get_num_threads())
    assert chosen[200:].count(1) > 150  # in the others it compares again


def test_a_number_is_taken_as_it_is(tmp_path):
    train_run(tmp_path, "model=ae", "networks=mlp", "trainer.max_steps=1", "trainer.threads=2")
    assert torch.get_num_threads() == 2


def test_null_is_the_number_of_the_process_whatever_an_earlier_run_had(monkeypatch):
    monkeypatch.setattr(threads, "_before", [])
    torch.set_num_threads(2)
    found = []
    for asked in (None, 1, None, 1, "auto"):
        threads.set_threads(asked)
        found.append(torch.get_num_threads())
    assert found == [2, 1, 2, 1, 2]


def test_auto_trains_and_gives_the_weights_of_any_number(tmp_path):
    """With these networks; PyTorch does not promise it for all."""
    options = ("model=ae", "networks=mlp", f"trainer.max_steps={3 * WINDOW}")
    results = []
    for number, value in enumerate(("auto", "1")):
        torch.set_num_threads(2)
        run, _ = train_run(tmp_path / str(number), *options, f"trainer.threads={value}")
        results.append(run.read_checkpoint("last")["state_dict"])
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize(("load", "count", "said"), [(9.0, 2, True), (1.0, 2, False), (9.0, 1, False)])
def test_hint(load, count, said, capsys, monkeypatch):
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    torch.set_num_threads(count)
    hint_of_crowd()
    assert ("trainer.threads=1" in capsys.readouterr().err) == said


TWO_THREADS = "this run has computed with 2 threads and goes on with"
DIFFERS = "it will differ in the last digits"


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (2, 2, None),
        (2, 1, f"{TWO_THREADS} 1: {DIFFERS}"),
        (2, "auto", f"{TWO_THREADS} a number that varies: {DIFFERS}"),
        ("auto", 1, None),  # the digits of such a run cannot be had again
    ],
)
def test_a_run_that_goes_on_with_other_threads_says_so(tmp_path, capsys, first, then, told):
    options = ("model=ae", "networks=mlp", "trainer.max_steps=1", f"trainer.threads={first}")
    _, summary = train_run(tmp_path, *options)
    used = "a varying number of threads" if first == "auto" else "2 threads"
    assert summary["provenance"]["device"].endswith(f"cores, {used})")
    run = Run.load(tmp_path)
    run.config.resume, run.config.trainer.max_steps, run.config.trainer.threads = str(tmp_path), 1, then
    capsys.readouterr()
    prepared = prepare(run)
    prepared.trainer.fit(prepared.model, datamodule=prepared.data, ckpt_path=prepared.checkpoint)
    error = capsys.readouterr().err
    assert told in error if told else "threads and goes on" not in error
