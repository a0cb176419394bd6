"""What killed processes leave behind is removed, and what others are writing is not."""

import errno
import os
import subprocess
import sys

import pytest

from lightning_gen.files import HOST, write_atomically


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    program = "import sys, time, pathlib; from lightning_gen.files import write_atomically\n"
    program += "write_atomically(pathlib.Path(sys.argv[1]), lambda f: (print(flush=True), time.sleep(60)))"
    writer = subprocess.Popen([sys.executable, "-c", program, tmp_path / "x"], stdout=subprocess.PIPE)
    writer.stdout.readline()
    write_atomically(tmp_path / "y", "while it lives")
    assert len(list(tmp_path.glob(".x.*.tmp"))) == 1
    writer.kill()
    writer.communicate()
    others = [f".y.other-host.{writer.pid}.0123abcd.tmp", f".y.{HOST}.{os.getpid()}.0123abcd.tmp", ".y.tmp", "y.tmp"]
    for name in others:
        (tmp_path / name).touch()
    write_atomically(tmp_path / "y", "when it is dead")
    assert {path.name for path in tmp_path.iterdir()} == {"y", *others}
    assert (tmp_path / "y").read_text() == "when it is dead"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    write_atomically(tmp_path / "x", "before")

    def fills_the_disk(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "x", fills_the_disk)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "before"
