"""compare: seeds become one row, protocols keep their own columns, the better end of each metric is marked."""

import csv
import itertools
import json
import math
import statistics
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightning_gen.commands.compare import as_markdown, compare_runs, readable
from lightning_gen.errors import UserError
from lightning_gen.runs.comparison import Comparison, Row, comparison, expanded, row_names
from lightning_gen.runs.run import Run
from tests.helpers import make_run

HOW = {
    "metric": "fid",
    "extractor": "classifier-x-v1",
    "weights_hash": "abc",
    "images": "samples",
    "n_fake": 1000,
    "n_real": 360,
    "split": "test",
    "seed": 0,
    "settings": {"k": 5},
    "versions": {"torch": "2.8.0"},
}


def record(values, **changes):
    """Metrics and protocols of one evaluation."""
    how = {**HOW, "checkpoint": "last", "step": 10, **changes}
    return {"metrics": {f"eval/{k}": v for k, v in values.items()}, "protocol": {f"eval/{k}": how for k in values}}


@pytest.fixture
def make(tmp_path):
    def run(name, fid, model="gan", seed=0, evaluations=(), **config):
        others = {key: {} for key in ("networks", "trainer", "evaluation", "checkpoint")}
        whole = {
            **others,
            "model": {"name": model, **config},
            "dataset": {"name": "digits"},
            "seed": seed,
            "id": name,
        }
        path = tmp_path / "runs" / name
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(OmegaConf.to_yaml(whole))
        summary = {**record({"fid_x": fid}), "evaluations": list(evaluations)}
        (path / "summary.json").write_text(json.dumps(summary))
        return Run.load(path)

    return run


def texts(table):
    return [[row.name, *(row.cell(column) for column in table.columns)] for row in table.rows]


def test_runs_that_differ_in_the_seed_are_one_row(make):
    values = [1.0, 2.0, 4.0]
    runs = [make(f"g{i}", value, seed=i, latent_dim=4) for i, value in enumerate(values)]
    table = comparison([*runs, make("v", 3.0, model="vae"), make("wide", 9.0, latent_dim=8, seed=3)])
    assert [row.name for row in table.rows][:2] == ["gan on digits, model.latent_dim=4", "vae on digits"]
    row, column = table.rows[0], table.columns[0]
    assert row.seeds == [0, 1, 2]
    assert row.mean(column) == pytest.approx(statistics.mean(values))
    assert row.std(column) == pytest.approx(statistics.stdev(values))
    assert row.cell(column) == "2.333 ± 1.5"
    assert table.rows[1].cell(column) == "3"
    assert table.is_best(row, column)
    assert not table.is_best(table.rows[1], column)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_fake": 5000}, ["fid_x (n_fake=1000)", "fid_x (n_fake=5000)"]),
        ({"split": "train"}, ["fid_x (split=test)", "fid_x (split=train)"]),
        ({"weights_hash": "other"}, ["fid_x (weights_hash=abc)", "fid_x (weights_hash=other)"]),
        ({"seed": 1}, ["fid_x (seed=0)", "fid_x (seed=1)"]),
        ({"settings": {"k": 3}}, ["fid_x (settings.k=5)", "fid_x (settings.k=3)"]),
    ],
)
def test_protocols_do_not_share_a_column(make, change, said):
    table = comparison([make("a", 1.0), make("b", 2.0, model="vae", evaluations=[record({"fid_x": 0.5}, **change)])])
    assert [table.headers[column] for column in table.columns] == said
    assert texts(table) == [["gan on digits", "1", ""], ["vae on digits", "2", "0.5"]]
    assert table.best(table.columns[0]) == 1.0
    assert table.best(table.columns[1]) is None  # nothing to compare with
    assert len(table.notes) == 1


def test_which_model_was_measured_is_part_of_the_row(make):
    later = record({"fid_x": 0.5}, checkpoint="best", step=5, ema=True, versions={"torch": "2.9.0"})
    mixture = record({"fid_x": 0.25}, checkpoint="best", prior="gmm")
    table = comparison([make("a", 1.0, evaluations=[later, mixture]), make("b", 2.0, seed=1)])
    assert len(table.columns) == 1
    assert [(row.checkpoint, row.seeds, row.cell(table.columns[0])) for row in table.rows] == [
        ("last", [0, 1], "1.5 ± 0.71"),
        ("best", [0], "0.5"),
        ("best, prior gmm", [0], "0.25"),
    ]


def test_the_ends_of_the_scale_are_rows_that_do_not_compete(make):
    run, other = make("a", 1.0), make("b", 2.0, model="vae")
    for one in (run, other):
        summary = one.read_summary()
        summary["metrics"] |= {"eval/fid_x_floor": 0.1, "eval/fid_x_noise": 30.0}
        summary["protocol"] |= {"eval/fid_x_floor": {**HOW, "images": "other real images", "n_fake": 99}}
        summary["protocol"] |= {"eval/fid_x_noise": {**HOW, "images": "uniform noise"}}
        one.write_summary(**summary)
    table = comparison([run, other])
    assert texts(table) == [
        *(["gan on digits", "1"], ["vae on digits", "2"]),
        *(["other real images", "0.1"], ["uniform noise", "30"]),
    ]
    assert table.best(table.columns[0]) == 1.0


def test_files(make, tmp_path, capsys):
    make("a", 1.0)
    make("b", 2.5, model="vae")
    compare_runs([tmp_path / "runs"], tmp_path / "table.csv", markdown=True)
    out = capsys.readouterr().out
    assert "| model | run | checkpoint | fid_x |" in out
    assert "| **1** |" in out
    assert "| 2.5 |" in out
    with open(tmp_path / "table.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fid_x"], row["fid_x std"], row["fid_x best"]) for row in rows] == [
        ("1.0", "", "True"),
        ("2.5", "", "False"),
    ]
    compare_runs([tmp_path / "runs" / "a", tmp_path / "runs" / "b"], None, markdown=False)
    assert "*1" in capsys.readouterr().out


def test_many_metrics_go_down_the_side(make):
    many = record({f"metric_{i}": float(i) for i in range(8)})
    table = comparison([make("a", 1.0, evaluations=[many])])
    assert as_markdown(table).splitlines()[0] == "| model | gan on digits |"


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("count", [1, 7, 50])
def test_the_terminal_shows_every_number_and_path_whole(make, capsys, monkeypatch, tmp_path, width, count):
    """At any width and for any number of runs, no line is longer than the terminal and no number is broken."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)
    for number in range(count):
        many = record({f"a_rather_long_metric_{i}": 1000.5 + number + i for i in range(12)})
        make(f"run{number}", 1.25 + number, evaluations=[many], latent_dim=number)
    compare_runs([tmp_path / "runs"], None, markdown=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    words = {word.lstrip("*").strip(",") for line in lines for word in line.split()}
    assert {f"runs/run{number}" for number in range(count)} <= words
    assert {f"{1.25 + number:.4g}" for number in range(count)} <= words


def test_a_folder_stands_for_its_runs(make, tmp_path):
    make("a", 1.0)
    make("b", 1.0)
    found = expanded([tmp_path / "runs", tmp_path / "runs" / "a"])
    assert [path.name for path in found] == ["a", "b"]


def test_mistakes(make, tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        compare_runs([tmp_path / "nothing"], None, False)
    run = make("a", 1.0)
    (run.path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="has a number"):
        compare_runs([run.path], None, False)
    make("b", 1.0)
    with pytest.raises(UserError, match="--csv"):
        compare_runs([tmp_path / "runs" / "b"], tmp_path, False)


def test_the_best_two_sample_test_is_that_of_a_coin():
    runs = {accuracy: [accuracy] for accuracy in (0.31, 0.56, 0.97)}
    column = ("c2st", "")
    rows = [Row(str(value), runs=[Path(str(value))], values={column: list(its)}) for value, its in runs.items()]
    table = Comparison(rows, [column], {column: "c2st"}, [])
    assert [table.is_best(row, column) for row in rows] == [False, True, False]


def test_recipes_are_named_by_what_was_asked_for(tmp_path):
    """They differ in a dozen keys, and repeats of one in the seed only."""
    from tests.helpers import make_run

    runs = []
    for recipe, seed in itertools.product(("gan_sngan", "gan_wgan_gp"), (0, 1)):
        run = make_run(tmp_path / f"{recipe}{seed}", f"experiment={recipe}", f"seed={seed}")
        (run.path / ".hydra").mkdir(exist_ok=True)
        (run.path / ".hydra" / "overrides.yaml").write_text(f"- experiment={recipe}\n- seed={seed}\n- logger=csv\n")
        runs.append(run)
    names = row_names(runs)
    assert [names[run.path] for run in runs] == [*["experiment=gan_sngan"] * 2, *["experiment=gan_wgan_gp"] * 2]


def test_a_seed_that_diverged_is_left_out_of_the_mean(tmp_path):
    row = Row("gan", [tmp_path] * 3, [0, 1, 2], values={("fid", ""): [1.0, math.nan, 3.0]})
    assert (row.mean(("fid", "")), row.cell(("fid", ""))) == (2.0, "2 ± 1.4 (2 of 3)")
    assert Row("gan", [tmp_path], [0], values={("fid", ""): [math.nan]}).cell(("fid", "")).startswith("nan")


def test_a_run_that_cannot_be_read_does_not_stop_the_others(tmp_path, capsys):
    good = make_run(tmp_path / "good", "model=ae")
    bad = make_run(tmp_path / "bad", "model=ae")
    (bad.path / "summary.json").write_text('{"metrics": ')
    assert [run.path for run in readable([good.path, bad.path])] == [good.path]
    assert "summary.json cannot be read" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"summary\.json cannot be read"):
        readable([bad.path])


def test_two_processes_add_to_a_summary_without_losing_entries(tmp_path):
    run = make_run(tmp_path / "run", "model=ae")
    threads = [
        threading.Thread(target=Run.load(run.path).add_evaluation, args=({"metrics": {}, "protocol": {"number": i}},))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry["protocol"]["number"] for entry in run.read_summary()["evaluations"]} == set(range(8))
