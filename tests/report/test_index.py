"""runs/index.html lists all runs, whatever happens to them."""

import json
import multiprocessing
import time

import pytest
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.commands.runs import list_runs
from lightning_gen.errors import UserError
from lightning_gen.report.index import entries, write_index
from tests.helpers import QUICK
from tests.report.runs import recorded_run


def test_runs_of_all_kinds_are_listed_the_newest_first(tmp_path, monkeypatch):
    recorded_run(tmp_path / "digits" / "ae" / "1", "model=ae", fid=3.25)
    running = recorded_run(tmp_path / "sweeps" / "mine" / "0", "model=gan")
    running.config.resume = str(running.path)
    running.claim()
    running.write_summary(status="running", best={}, progress={})
    recorded_run(tmp_path / "sweeps" / "mine" / "1", "model=gan").write_summary(status="running")
    (tmp_path / "latest").symlink_to("digits/ae/1")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("{")
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["runs", str(tmp_path)])
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[1][:3] == ["sweeps/mine/1", "killed", "100"]  # no process holds it
    assert lines[2] == ["sweeps/mine/0", "running", "100"]
    assert lines[3] == ["digits/ae/1", "completed", "100", "3.25", "fid_classifier"]
    assert max(map(len, result.output.splitlines()[:4])) <= 80
    assert [entry["path"] for entry in json.loads((tmp_path / "index.json").read_text())] == [
        line[0] for line in lines[1:4]
    ]
    running.release()


def test_a_list_that_cannot_be_written_is_still_printed(tmp_path, monkeypatch):
    recorded_run(tmp_path / "one", "model=ae")

    def read_only(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lightning_gen.commands.runs.write_index", read_only)
    result = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert (result.exit_code, "page " in result.stdout) == (0, False)
    assert "completed" in result.stdout
    assert "(Permission denied)" in result.stderr


def test_a_folder_without_runs_stays_as_it_is(tmp_path):
    with pytest.raises(UserError, match="There are no runs in"):
        list_runs(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_gone_or_has_changed_is_read_again(tmp_path):
    first, second = (recorded_run(tmp_path / name, "model=ae") for name in "ab")
    write_index(tmp_path)
    for file in sorted(first.path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    second.write_summary(status="pruned")
    assert [(entry.path, entry.status) for entry in entries(tmp_path)] == [("b", "pruned")]


def test_a_name_of_a_stranger_is_text(tmp_path):
    run = recorded_run(tmp_path / "a<b>&c", "model=ae")
    run.write_summary(status="<script>alert(1)</script>")
    (run.path / "report.html").touch()
    write_index(tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in html
    assert 'href="a%3Cb%3E%26c/report.html"' in html


def _end(folder, name):
    recorded_run(folder / name, "model=ae")
    write_index(folder)


def test_runs_that_end_at_once_are_all_listed(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_end, args=(tmp_path, str(number))) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    listed = json.loads((tmp_path / "index.json").read_text())
    assert sorted(entry["path"] for entry in listed) == ["0", "1", "2", "3"]


def test_a_finished_run_has_a_page_and_its_line(tmp_path, train_command):
    where = tmp_path / "runs" / "one"
    options = [option for option in QUICK if not option.startswith("report")]
    done = train_command(*options, "model=ae", "networks=mlp", "trainer.max_steps=2", f"hydra.run.dir={where}")
    assert done.returncode == 0, done.stderr
    assert f"report   {where / 'report.html'}" in done.stdout
    assert (
        "ae on digits" in (where / "report.html").read_text()
        or "ae on mnist_small" in (where / "report.html").read_text()
    )
    assert 'href="one/report.html"' in (tmp_path / "runs" / "index.html").read_text()
    again = train_command(
        *options,
        "model=ae",
        "networks=mlp",
        "trainer.max_steps=2",
        f"hydra.run.dir={tmp_path}/runs/two",
        "report=false",
    )
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "runs" / "two" / "report.html").exists()
    assert "two" in (tmp_path / "runs" / "index.html").read_text()


def test_a_page_that_cannot_be_written_fails_no_run(tmp_path, train_command, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_gen.report.finish.write_report", full)
    options = [option for option in QUICK if not option.startswith("report")]
    done = train_command(*options, "model=ae", "networks=mlp", "trainer.max_steps=1", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert "note: no page of this run: [Errno 28] No space left on device" in done.stderr


def test_the_list_of_500_runs_is_rewritten_in_a_moment(tmp_path):
    """It is written at the end of every run: only the runs that have changed are read again."""
    first = recorded_run(tmp_path / "0", "model=ae")
    config, summary = ((first.path / name).read_text() for name in ("config.yaml", "summary.json"))
    for number in range(1, 500):
        path = tmp_path / str(number)
        path.mkdir()
        (path / "config.yaml").write_text(config if number < 20 else "")
        (path / "summary.json").write_text(summary)
    found = write_index(tmp_path)
    assert len(found) == 20
    start = time.process_time()
    write_index(tmp_path)
    assert time.process_time() - start < 2
