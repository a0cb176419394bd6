"""The page of a run that trains, on the loopback address."""

import os
import re
import signal
import socket
import struct
import threading
import time
import urllib.error
import urllib.request

import pytest

from lightning_gen.commands.watch import server_of
from lightning_gen.errors import UserError
from tests.helpers import start_command
from tests.report.runs import recorded_run


@pytest.fixture
def served(tmp_path):
    """A run that trains and the address of its page."""
    run = recorded_run(tmp_path / "run", "model=ae")
    run.write_summary(status="running")
    server = server_of(run.path, port=0, seconds=0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield run, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
        return answer.read().decode()


def test_the_page_follows_the_run_and_stops_at_its_end(served, browser):
    run, address = served
    browser.open(address)
    assert "Training goes on" in browser.run("document.body.textContent")
    with open(run.path / "metrics.csv", "a") as file:
        file.write("150,2400,15,50,51,1.5,0.5\n")
    browser.wait("performance.getEntriesByType('navigation')[0].type === 'reload'")
    run.write_summary(status="completed")
    browser.wait(
        "document.body?.textContent.includes('What ran') && !document.body.textContent.includes('Training goes on') && document.readyState === 'complete'"
    )
    assert browser.problems == []
    assert {one for one in browser.requests if not one.startswith(address)} == set()


def test_only_this_machine_is_answered(served):
    _, address = served
    assert get(f"{address}state")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(address, Host="evil.example:80")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{address}../config.yaml")


def test_a_window_that_is_closed_while_the_page_loads_is_no_error(served, capsys):
    _, address = served
    port = int(address.split(":")[-1].strip("/"))
    with socket.create_connection(("127.0.0.1", port)) as window:
        window.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not an orderly end
        window.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")  # as browsers do for port 80
        assert window.recv(15).endswith(b" 200 OK")
    assert get(address)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_told(served, tmp_path):
    with pytest.raises(UserError, match="choose another with --port"):
        server_of(tmp_path / "run", int(served[1].split(":")[-1].strip("/")))


def test_ctrl_c_ends_it_quietly(tmp_path):
    run = recorded_run(tmp_path / "run", "model=ae")
    log = tmp_path / "log"
    process = start_command(["watch", str(run.path), "--port", "0"], log, program="lightning-gen")
    deadline = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text() if log.exists() else "")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "What ran" in get(found[0])
    time.sleep(0.1)
    told = log.read_text()
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 0
    assert log.read_text().split() == told.split()  # nothing more is said
