"""Long work says what it is and how long it takes: a line in a file, a bar in a terminal, nothing if it is short."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest

from lightning_gen import progress as module
from lightning_gen.progress import progress

SCRIPT = """
import sys, time
from lightning_gen import progress as module
module.DELAY = 0.1
bar = module.Bar(100, 0, "training", "")
bar.update(40, "training", "loss 1.5")
with module.progress(None, "evaluation"):
    time.sleep(0.4)
    with module.progress(8, "drawing", "samples") as advance:
        for _ in range(8):
            advance(1)
            time.sleep(0.1)
    print("wrote /tmp/a_long_path/1234/with=True/numbers.txt", file=sys.stderr)
bar.update(100, "training", "loss 0.5")
bar.stop()
"""


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(module, "DELAY", 0.05)


def shown(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_short_work_says_nothing_and_long_work_one_line(capsys, at_once):
    with progress(10, "counting", "numbers") as advance:
        advance(1)
    assert shown(capsys) == []
    with progress(10, "counting", "numbers") as advance:
        advance(5)
        time.sleep(0.3)
        advance(4)
    (line,) = shown(capsys)
    assert re.fullmatch(r"counting: 5 of 10 numbers, \d+ s left", line)


def test_longer_work_says_more_now_and_then(capsys, at_once, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.0)
    with progress(10, "counting", "numbers") as advance:
        time.sleep(0.3)
        advance(5)
        advance(5)
    assert [line.split(",")[0] for line in shown(capsys)] == ["counting: 10 numbers ...", "counting: 5 of 10 numbers"]


def test_work_of_unknown_length(capsys, at_once):
    with progress(None, "thinking"):
        time.sleep(0.3)
    assert shown(capsys) == ["thinking ..."]


@pytest.mark.parametrize("variables", [{"LOCAL_RANK": "1"}, {"RANK": "3", "WORLD_SIZE": "4"}])
def test_only_the_first_process_speaks(capsys, at_once, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with progress(None, "thinking"):
        time.sleep(0.2)
    assert shown(capsys) == []


def test_no_thread_is_left(at_once):
    with contextlib.suppress(KeyError), progress(None, "thinking"):
        raise KeyError
    time.sleep(0.1)
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_terminal_shows_each_piece_of_work_with_its_bar():
    """In a pseudo-terminal of 80 columns: nothing is wider, paths have no colours, the training stays."""
    primary, secondary = pty.openpty()
    os.set_inheritable(secondary, True)
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=secondary, stderr=secondary, env=environment)
    os.close(secondary)
    output = b""
    with contextlib.suppress(OSError):  # the terminal ends with the process
        while part := os.read(primary, 4096):
            output += part
    assert process.wait() == 0
    text = output.decode()
    assert "wrote /tmp/a_long_path/1234/with=True/numbers.txt" in text  # as it is, without codes inside
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text)]
    assert max(map(len, lines)) <= 80
    assert any(re.match(r"evaluation +\S+ +\d s so far", line) for line in lines)
    assert any(re.match(r"drawing +\S+ \d/8 samples +\d s left", line) for line in lines)
    assert re.match(r"training +\S+ 100/100 +in \d s +loss 0.5", next(line for line in lines[::-1] if line.strip()))
