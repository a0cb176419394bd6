"""The leaderboard orders any folder of runs, and says how to train the best one again."""

import json
import math
import shlex

import pytest

from lightning_gen.commands.leaderboard import draw, show_leaderboard
from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.search.leaderboard import as_study, leaderboard, short_names
from tests.helpers import make_run


def run_of(path, overrides, status="completed", metrics=None, best=None, curve=()):
    """A run directory as training would leave it."""
    run = make_run(path, *overrides)
    run.overrides = list(overrides)
    run.save()
    run.write_summary(status=status, metrics=metrics or {}, best=best or {})
    rows = "".join(f"{step},{step},{value}\n" for step, value in curve)
    (path / "metrics.csv").write_text(f"step,images_seen,eval/psnr\n{rows}")
    return run


@pytest.fixture
def runs(tmp_path):
    """Four settings, one of them with two seeds and one pruned."""
    made = []
    for index, (lr, seed, psnr, status) in enumerate(
        [
            (1e-3, 0, 20.0, "completed"),
            (1e-3, 1, 22.0, "completed"),
            (1e-2, 0, 25.0, "completed"),
            (1e-1, 0, 30.0, "pruned"),
            (2e-3, 0, 23.0, "completed"),
            (5e-3, 0, 24.0, "completed"),
        ]
    ):
        overrides = ["model=ae", f"model.optimizer.lr={lr}", f"seed={seed}", "sweep.trial=null"]
        best = {"metric": "eval/psnr", "value": psnr, "step": 20}
        metrics = {"eval/psnr": psnr - 1, "eval/ssim": 1 / psnr}
        made.append(run_of(tmp_path / str(index), overrides, status, metrics, best, [(10, psnr - 2), (20, psnr)]))
    return made


def test_order(runs):
    board = leaderboard(runs)
    assert (board.metrics, board.modes) == (["eval/psnr"], ["max"])
    assert [entry.values for entry in board.entries] == [
        [25.0],
        [24.0],
        [23.0],
        [21.0],
        [30.0],
    ]  # 21: mean of two seeds
    assert [entry.status for entry in board.entries] == ["completed"] * 4 + ["pruned"]
    assert board.front() == [board.entries[0]]
    assert board.entries[0].curves == [[(10, 23.0), (20, 25.0)]]


def test_runs_with_other_seeds_are_one_entry_with_its_spread(runs, tmp_path):
    entries = leaderboard(runs).entries
    assert [entry.name for entry in entries] == ["2", "5", "4", "0, 1", "3"]
    assert [entry.shown for entry in entries][2:4] == [["23"], ["21 ± 1.4"]]  # of 20 and 22
    trials = [("a", 0, 20.0), ("a", 1, 23.0), ("b", 0, 25.0), ("b", 1, 25.0)]  # each setting in a folder of its own
    made = [
        run_of(
            tmp_path / "trials" / trial / str(seed),
            ["model=ae", f"model.latent_dim={len(trial) + ord(trial)}", f"seed={seed}"],
            best={"metric": "eval/psnr", "value": psnr, "step": 1},
        )
        for trial, seed, psnr in trials
    ]
    assert [(e.name, *e.shown) for e in leaderboard(made).entries] == [("b", "25 ± 0"), ("a", "21.5 ± 2.1")]
    seeds = [Run.load(tmp_path / "trials" / trial / "0") for trial in "ab"]
    assert [entry.name for entry in leaderboard(seeds).entries] == ["b/0", "a/0"]
    made[1].write_summary(best={"metric": "eval/psnr", "value": math.inf, "step": 1})
    assert leaderboard(made).entries[1].shown == ["inf"]


def test_pareto_front_of_two_metrics(runs):
    board = leaderboard(runs, ["eval/psnr", "eval/ssim"])
    # ssim falls as psnr rises, so none of the completed ones beats another
    assert len(board.front()) == 4


def test_printed_table_and_command(runs, tmp_path, capsys):
    show_leaderboard([tmp_path], [], plots=False)
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split()[:4] == ["*", "2", "25", "completed"]
    command = next(line.removeprefix("best  ") for line in printed.splitlines() if line.startswith("best"))
    words = shlex.split(command)
    assert words[:2] == ["python", "train.py"]
    assert compose(words[2:]).model.optimizer.lr == 1e-2


def test_the_spread_is_explained_and_an_empty_folder_named(runs, tmp_path, capsys):
    show_leaderboard([tmp_path], [], plots=False)
    assert "± standard deviation over runs that differ in the seed" in capsys.readouterr().out
    show_leaderboard([run.path for run in runs[2:]], [], plots=False)
    assert "±" not in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There are no runs in .*empty"):
        show_leaderboard([tmp_path / "empty"], [], plots=False)


def test_plots(runs, tmp_path):
    board = leaderboard(runs)
    drawn = draw(board, as_study(board), tmp_path / "leaderboard")
    assert drawn == ["curves", "importances", "parallel", "slices"]
    assert all((tmp_path / "leaderboard" / f"{name}.png").stat().st_size > 5000 for name in drawn)


def test_importances_find_the_key_that_matters(tmp_path):
    runs = []
    for index in range(16):
        lr, width = 10.0 ** -(1 + index % 4), 8 * (1 + index // 4)
        overrides = ["model=ae", "networks=mlp", f"model.optimizer.lr={lr}", f"networks.encoder.widths=[{width}]"]
        runs.append(run_of(tmp_path / str(index), overrides, best={"metric": "eval/psnr", "value": float(index % 4)}))
    study = as_study(leaderboard(runs))
    from lightning_gen.commands.leaderboard import importances

    found = importances(study)
    assert found["lr"] > 0.9
    assert sum(found.values()) == pytest.approx(1.0)


def test_runs_without_a_common_metric(tmp_path):
    one = run_of(tmp_path / "0", ["model=ae"], best={"metric": "eval/psnr", "value": 1.0})
    other = run_of(tmp_path / "1", ["model=vae"], best={"metric": "eval/elbo", "value": 1.0})
    with pytest.raises(UserError, match="--metric"):
        leaderboard([one, other])
    one.write_summary(metrics={"eval/fid": 1.0})
    with pytest.raises(UserError, match=r"--metric eval/fidd: none of these runs has a value.*mean 'eval/fid'"):
        leaderboard([one, other], ["eval/fidd"])
    one.write_summary(metrics={"eval/fid": math.nan})  # measured, in a run that diverged
    assert leaderboard([one, other], ["eval/fid"]).metrics == ["eval/fid"]


def test_runs_that_all_failed(tmp_path):
    failed = [run_of(tmp_path / str(seed), ["model=ae", f"seed={seed}"], "failed") for seed in range(2)]
    with pytest.raises(UserError, match=r"None of these runs has a best\.ckpt"):
        leaderboard(failed)


@pytest.mark.parametrize("tag", ["tag(log,interval(1e-3,1e-2))", "interval(1e-3,1e-2)"])
def test_a_key_has_the_scale_on_which_it_was_searched(runs, tmp_path, tag):
    hydra = {"overrides": {"task": ["model=ae"]}, "sweeper": {"params": {"model.optimizer.lr": tag}}}
    (tmp_path / "multirun.yaml").write_text(json.dumps({"hydra": hydra}))
    assert as_study(leaderboard(runs)).trials[0].distributions["lr"].log == ("log" in tag)


def test_short_names():
    keys = ["model.generator_optimizer.lr", "model.discriminator_optimizer.lr", "model.latent_dim", "model/loss"]
    assert list(short_names(keys).values()) == [
        "generator_optimizer.lr",
        "discriminator_optimizer.lr",
        "latent_dim",
        "model/loss",
    ]


def test_a_search_reads_back(tmp_path):
    """A run that never began a step has no summary metrics; it is listed as what it is."""
    run = make_run(tmp_path / "0", "model=ae")
    assert json.loads((run.path / "summary.json").read_text())["status"] == "running"
    board = leaderboard([Run.load(run.path)], ["eval/psnr"])
    assert board.entries[0].status == "running"
    assert board.front() == []
