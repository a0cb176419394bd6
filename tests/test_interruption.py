"""A process that is asked to stop notes it, and has its own handlers and streams back afterwards."""

import os
import signal
import subprocess
import sys

import pytest

from lightning_gen.interruption import SIGNALS, StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_is_noted_and_ends_what_may_be_thrown_away(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            raise AssertionError("what begins after the request must not run")
    with StopRequest() as stop:
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            os.kill(os.getpid(), number)
        assert stop.asked
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_stops_immediately_and_other_signals_wait():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_may_be_entered_again():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        with stop:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_pipe_asks_to_stop_instead_of_raising_an_error(name, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        with StopRequest() as stop:
            for _ in range(3):
                print("a line that nobody reads", file=getattr(sys, name), flush=True)
            assert stop.asked
        assert getattr(sys, name) is stream


def test_the_end_of_the_reader_asks_to_stop_while_nothing_is_written():
    """As in `python train.py ... | head -1`."""
    program = "import time; from lightning_gen.interruption import StopRequest\n"
    program += "stop = StopRequest()\nwith stop:\n    print('begun', flush=True)\n    try:\n"
    program += "        with stop.at_once(): time.sleep(600)\n    except KeyboardInterrupt: pass\n"
    program += "import sys; sys.exit(0 if stop.asked else 1)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    process.stdout.close()
    assert process.wait(timeout=30) == 0


def test_the_watch_ends_with_the_context():
    program = "import threading, time; from lightning_gen.interruption import StopRequest\n"
    program += "for _ in range(3):\n    with StopRequest() as stop: assert threading.active_count() == 2\n"
    program += "    time.sleep(0.1)\n    assert threading.active_count() == 1 and not stop.asked"
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
