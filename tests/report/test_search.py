"""A search as a page: what mattered, all settings in order, the best one's command."""

import re

import pytest
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.report.search import board_of, section
from lightning_gen.runs.run import Run
from lightning_gen.search.leaderboard import trials_in
from tests.report.runs import recorded_run

DRAWN = "[...document.querySelectorAll('#search [data-chart]')].every((one) => 'drawn' in one.dataset)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six trials, one of which was pruned, and a repeat of the best one."""
    folder = tmp_path_factory.mktemp("sweeps") / "mine"
    for number, (lr, width, fid) in enumerate(
        [(1e-4, 8, 9.0), (1e-3, 16, 3.0), (1e-2, 32, 6.0), (3e-4, 32, 5.0), (3e-3, 8, 4.0), (5e-2, 16, 20.0)]
    ):
        options = (f"model.generator_optimizer.lr={lr}", f"model.latent_dim={width}", "model=gan")
        run = recorded_run(folder / str(number), *options, fid=fid)
        if number == 5:
            run.write_summary(status="pruned")
    recorded_run(folder / "repeats_of_1" / "0", "model=gan", "seed=7", fid=0.1)
    return folder


def test_the_page_of_a_search_shows_all_of_it(folder, browser, tmp_path):
    out = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", str(folder), "-o", str(out)])
    assert result.exit_code == 0, result.output
    browser.resize(1400, 3000)
    browser.open(out.as_uri())
    browser.wait(DRAWN)
    names = browser.run("[...document.querySelectorAll('#search figcaption b')].map((one) => one.textContent)")
    assert names[:3] == ["Learning curves", "What mattered", "All keys together"]
    assert set(names[3:]) == {
        "eval/fid_classifier against lr",
        "eval/fid_classifier against latent_dim",
        *[name for name in names if " and " in name],
    }
    assert len(names) == 6
    rows = browser.run("[...document.querySelectorAll('#search tbody tr')].map((row) => row.cells[1].textContent)")
    assert rows == ["1", "4", "3", "2", "0", "5"]  # by FID, the pruned one last; no repeat
    text = browser.run("document.getElementById('search').textContent")
    assert "6 settings: 5 completed, 1 pruned" in text
    assert "python train.py model.generator_optimizer.lr=0.001 model.latent_dim=16 model=gan" in text
    browser.resize(400, 900)
    browser.wait("document.documentElement.scrollWidth <= 400")  # charts take their new width a little later
    assert browser.problems == browser.requests == []


def test_the_leaderboard_writes_the_same_page(folder, monkeypatch):
    monkeypatch.setattr("lightning_gen.commands.leaderboard.draw", lambda *_: [])
    result = CliRunner().invoke(app, ["leaderboard", str(folder)])
    assert result.exit_code == 0, result.output
    assert "Learning curves" in (folder / "leaderboard" / "report.html").read_text()


def test_with_several_metrics_there_is_a_pareto_front(folder):
    runs = [Run.load(path) for path in trials_in([folder])]
    board = board_of(runs, ["eval/fid_classifier", "eval/fid_classifier_floor"])
    shown = section(board)
    assert [chart["name"] for chart in shown["charts"]][:2] == ["Learning curves", "Pareto front"]
    assert len(shown["commands"]) == len(board.front())


def test_runs_that_no_metric_orders_are_compared(tmp_path):
    recorded_run(tmp_path / "a", "model=ae")
    recorded_run(tmp_path / "b", "model=vae").write_summary(best={"metric": "eval/elbo", "value": 1.0, "step": 0})
    out = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", str(tmp_path), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert not re.search(r'id="search"', out.read_text())
    assert "2 settings compared" in out.read_text()
