"""The end of a run says which checkpoint its numbers are of, and what can be done next."""

import sys

import pytest
from rich.table import Table

from lightning_gen.commands import terminal
from lightning_gen.commands.terminal import console, next_commands, program_name, report
from tests.report.runs import recorded_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return recorded_run(tmp_path / "runs" / "digits" / "gan" / "1", "model=gan")


def told(run, capsys, **changes):
    summary = run.read_summary()
    report(run, {**summary, **changes})
    return capsys.readouterr().out.splitlines()


def test_best_stands_beside_last(run, capsys):
    best = {"metric": "eval/fid_classifier", "value": 3.0, "step": 50}
    lines = told(run, capsys, best=best)
    assert lines[0].split() == ["metric", "last", "best", "real", "how"]
    row = next(line.split() for line in lines if line.startswith("fid_classifier"))
    assert row[1:4] == ["2", "3", "0.5"]  # metrics.csv has 3 at step 50
    assert "last: last.ckpt, step 100; best: best.ckpt, step 50, chosen by fid_classifier" in lines


def test_the_last_checkpoint_is_the_best(run, capsys):
    lines = told(run, capsys)
    assert lines[0].split() == ["metric", "value", "real", "how"]
    assert "of last.ckpt, step 100, which is also best.ckpt, chosen by fid_classifier" in lines


def test_how_a_number_was_measured_stands_whole_below_the_table(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = told(run, capsys, best={"metric": "eval/fid_classifier", "value": 3.0, "step": 50})
    number = next(line.split()[-1] for line in lines if line.startswith("fid_classifier"))
    (how,) = [line for line in lines if line.startswith(number)]
    assert "samples" in how


def test_what_can_be_done_next(run, monkeypatch):
    monkeypatch.setattr(terminal, "program_name", lambda: "lightning-gen")
    assert next_commands(run, can_sample=True) == [
        "lightning-gen report runs/digits/gan/1 -o report.html",
        "lightning-gen sample runs/digits/gan/1 -n 64 -o samples",
        "lightning-gen train model=vae",
        "lightning-gen compare runs/digits",
    ]
    asked = ["model=gan", "seed=3", "dataset=table", "dataset.path=a file.csv", "networks=mlp"]
    (run.path / ".hydra" / "overrides.yaml").write_text("\n".join(f"- {override}" for override in asked))
    of_rows = "lightning-gen train model=vae dataset=table 'dataset.path=a file.csv' networks=mlp"
    assert of_rows in next_commands(run, can_sample=True)
    (run.path / "report.html").touch()
    monkeypatch.chdir("/")  # other runs will be in other folders
    assert next_commands(run, can_sample=False) == []


def test_the_command_works_without_an_active_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(terminal.shutil, "which", lambda name: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert program_name() == f"{tmp_path}/.venv/bin/python -m lightning_gen"
    (tmp_path / ".venv" / "bin" / "lightning-gen").touch()
    assert program_name() == ".venv/bin/lightning-gen"


def test_a_table_in_a_pipe_is_as_wide_as_it_is(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("name")
    table.add_row("x" * 200)
    console().print(table)
    assert "x" * 200 in capsys.readouterr().out
