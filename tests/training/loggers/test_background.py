"""What does not answer, or fails, neither stops training nor slows it."""

import threading
import time

from lightning_gen.training.loggers.background import Background


def test_calls_are_made_in_order_and_nobody_waits_for_them():
    open_door, made = threading.Event(), []
    background = Background("a service", timeout=30)
    background.call(open_door.wait)
    for number in range(100):
        background.call(made.append, number)
    assert made == []  # the first call still waits, and we are here
    open_door.set()
    background.close()
    assert made == list(range(100))


def test_after_a_failure_it_warns_once_and_drops_the_rest(capsys):
    made = []
    background = Background("a service", timeout=30, hint=" Look elsewhere.")
    background.call(made.append, 1)
    background.call(int, "no number")
    for _ in range(3):
        background.call(made.append, 2)
    background.close()
    background.call(made.append, 3)
    assert made == [1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: a service: invalid literal")
    assert line.endswith("Training goes on without it. Look elsewhere.")


def test_the_end_waits_no_longer_than_it_may(capsys):
    never = threading.Event()
    background = Background("a service", timeout=0.2)
    background.call(never.wait)
    start = time.monotonic()
    background.close()
    assert time.monotonic() - start < 5
    assert "it has not answered for 0.2 seconds" in capsys.readouterr().err
    never.set()


def test_the_end_gives_each_call_its_time():
    """A call that comes with the end is not measured against the time since the one before."""
    background = Background("a service", timeout=0.5)
    door, made = threading.Event(), []
    background.call(door.wait)
    time.sleep(0.7)
    background.call(made.append, 1)
    threading.Timer(0.1, door.set).start()
    background.close()
    assert made == [1]
    assert not background.broken
