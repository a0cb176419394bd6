"""What lightning-gen prints where its arguments are wrong."""

import sys

import pytest

from lightning_gen import cli

WRONG = {
    ("sampel",): "error: No such command 'sampel'. Did you mean 'sample'? See lightning-gen --help.",
    ("sample",): "error: Missing argument 'RUN'. See lightning-gen sample --help.",
    ("sample", "run", "-n", "0"): (
        "error: Invalid value for '-n' / '--count': Input should be greater than or equal to 1. "
        "See lightning-gen sample --help."
    ),
    ("compare", "--srot"): "error: No such option: --srot. See lightning-gen compare --help.",
    ("sample", "nowhere"): "error: nowhere is not a run directory: it has no config.yaml.",
}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lightning-gen", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize("arguments", WRONG)
def test_a_mistake_is_one_line_on_standard_error(monkeypatch, tmp_path, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.strip() == WRONG[arguments]


def test_help_and_no_arguments(monkeypatch, capsys):
    assert not run(monkeypatch, "--help")
    shown = capsys.readouterr().out
    assert run(monkeypatch) == 2
    assert "leaderboard" in shown
    assert capsys.readouterr().out.split() == shown.split()


def test_an_error_in_the_program_keeps_its_traceback(monkeypatch):
    def fails(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fails)
    monkeypatch.setattr(sys, "argv", ["lightning-gen", "runs"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
