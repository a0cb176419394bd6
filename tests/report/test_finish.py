"""What a run leaves at its end neither fails it nor is lost when another part fails."""

import json

import pytest

from lightning_gen.commands import job
from lightning_gen.report import finish
from tests.helpers import make_run
from tests.report.runs import recorded_run


def test_the_list_is_written_also_if_the_page_cannot_be(tmp_path, monkeypatch, capsys):
    run = recorded_run(tmp_path / "runs" / "one", "model=ae", "report=true")

    def full(run):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finish, "write_report", full)
    finish.finish(run, "completed")
    assert "no page of this run: [Errno 28] No space left on device" in capsys.readouterr().err
    assert [entry["path"] for entry in json.loads((tmp_path / "runs" / "index.json").read_text())] == ["one"]


def test_the_list_of_all_runs_has_a_run_that_failed(tmp_path, monkeypatch):
    def fails(run, parts):
        run.write_summary(status="failed")
        raise RuntimeError("boom")

    monkeypatch.setattr(job, "train", fails)
    run = make_run(tmp_path / "runs" / "one", "model=ae", "networks=mlp")
    (tmp_path / "runs" / "one" / "config.yaml").unlink()
    with pytest.raises(RuntimeError, match="boom"):
        job.run_job(run)
    (entry,) = json.loads((tmp_path / "runs" / "index.json").read_text())
    assert (entry["path"], entry["status"]) == ("one", "failed")
    assert not (run.path / "report.html").exists()
