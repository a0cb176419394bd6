"""Commands on runs whose data are rows of a table."""

import csv
import re

import numpy as np
import pytest
import torch

from lightning_gen.commands.anomalies import Options, find_anomalies
from lightning_gen.commands.audit import Protocol, audit_run
from lightning_gen.commands.augment import augment_run
from lightning_gen.commands.data import describe_data
from lightning_gen.commands.directions import Options as DirectionOptions
from lightning_gen.commands.directions import directions_of_run
from lightning_gen.commands.evaluate import evaluate_run
from lightning_gen.commands.export import export_run
from lightning_gen.commands.job import announcement
from lightning_gen.commands.latents import draw_latents
from lightning_gen.commands.probe import probe_table
from lightning_gen.commands.sample import Draw, chosen_format, sample_run
from lightning_gen.commands.terminal import console, report
from lightning_gen.config.build import build_data
from lightning_gen.data.tables import Column, TableSchema
from lightning_gen.errors import UserError
from lightning_gen.evaluation.anomaly_images import kinds_of_images
from lightning_gen.models.use import draw_samples
from lightning_gen.report.page import grouped, page
from lightning_gen.runs.loading import load_encoder_and_data, load_model
from lightning_gen.runs.resume import check_checkpoint
from lightning_gen.runs.run import Run
from lightning_gen.runs.trained import load
from lightning_gen.training.train import prepare
from tests.helpers import make_run, resume_run, train_run

OPTIONS = (
    *("model=vae", "networks=mlp", "networks.encoder.widths=[16]", "dataset=table", "dataset.path=sklearn:iris"),
    *(
        "dataset.classes=[setosa]",
        "dataset.drop=[target]",
        "dataset.test_fraction=0.4",
        "checkpoint.every_n_steps=2",
        "ema=none",
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_run(tmp_path_factory.mktemp("table") / "run", *OPTIONS, "trainer.max_steps=2")[0]


def test_a_run_continues_to_the_bit(run, tmp_path_factory):
    straight = train_run(tmp_path_factory.mktemp("straight") / "run", *OPTIONS, "trainer.max_steps=3")[0]
    resumed = resume_run(run.path, 3)[0]
    weights, expected = (load_model(one, "last").state_dict() for one in (resumed, straight))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_a_table_that_has_changed_is_noticed(run, monkeypatch):
    state, model = run.read_checkpoint("last"), load_model(run, "last")
    check_checkpoint(model.image_shape, model.state_dict(), state, model.table)
    first, *others = model.table.columns
    changed = TableSchema((first._replace(mean=first.mean + 0.1), *others))
    with pytest.raises(UserError, match="resume: the columns of the table, or their training rows"):
        check_checkpoint(model.image_shape, model.state_dict(), state, changed)
    other = Run.load(run.path)
    other.config.dataset.test_fraction = 0.3
    with pytest.raises(UserError, match="trained on: restore the file"):
        load_encoder_and_data(other, "last")
    monkeypatch.setattr(Run, "load", lambda path: other)
    with pytest.raises(UserError, match="trained on: restore the file"):
        find_anomalies(run.path, Options(checkpoint="last"))


def test_a_likelihood_of_images_that_was_asked_for_is_not_replaced_in_silence(run, tmp_path):
    assert run.config.model.likelihood._target_.endswith("TableLikelihood")
    other = make_run(tmp_path, *OPTIONS, "model/likelihood=bernoulli")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- model/likelihood=bernoulli\n")
    with pytest.raises(UserError, match=r"Bernoulli is for images.*omit it"):
        prepare(other)


def test_samples_are_written_in_the_units_of_the_data(run, tmp_path):
    assert "6 rows of 4 columns" in sample_run(run.path, "last", 6, tmp_path / "rows.csv", None, Draw(seed=1))
    with open(tmp_path / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    model = load_model(run, "last")
    expected = model.table.decode(draw_samples(model, 6, seed=1).flatten(1))
    assert list(rows[0]) == list(expected)
    for name, values in expected.items():
        assert np.allclose([float(row[name]) for row in rows], values, rtol=1e-6)
    assert 2 < np.mean(expected["petal length (cm)"]) < 6  # the mean of all flowers is 3.8


def test_parquet_has_the_same_samples(run, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    sample_run(run.path, "last", 6, tmp_path, "parquet", Draw())
    model = load_model(run, "last")
    expected = model.table.decode(draw_samples(model, 6).flatten(1))
    assert pandas.read_parquet(tmp_path / "samples.parquet").to_dict("list") == {
        name: values.tolist() for name, values in expected.items()
    }


def test_formats_of_images_and_of_tables_refuse_each_other(tmp_path):
    table = TableSchema((Column("x", "numeric"),))
    assert chosen_format(None, tmp_path / "a.parquet", table) == "parquet"
    assert chosen_format(None, tmp_path, table) == "csv"
    assert chosen_format(None, tmp_path, None) == "grid"
    for format, out in ((None, "a.csv"), ("png", "a.parquet"), ("csv", "folder")):
        with pytest.raises(UserError, match="this run has images"):
            chosen_format(format, tmp_path / out, None)
    for format, out in (("png", "folder"), ("csv", "a.parquet")):
        with pytest.raises(UserError, match="this run has rows of a table"):
            chosen_format(format, tmp_path / out, table)


def test_anomalies_are_the_classes_left_out(run):
    results = find_anomalies(run.path, Options(checkpoint="last"))
    assert results["nearest_rows"]["auroc"].value == 1  # every other flower is larger
    with open(run.path / "anomalies" / "classes" / "anomalies.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(build_data(run.config).test) + sum(row["anomaly"] == "1" for row in rows)
    assert {row["class"] for row in rows} == {"setosa", "versicolor", "virginica"}


def test_rows_of_another_file_are_encoded_as_those_of_the_run(run, tmp_path):
    pytest.importorskip("pandas")
    data, path = build_data(run.config), tmp_path / "others.csv"
    names = list(data.table.slices)
    path.write_text(",".join([*names, "more"]) + "\n" + "9,8,7,6.5,x\n5,4,3,2.5,y\n1,0,-1,-1.5,z\n")
    _, others = kinds_of_images(run.config, data, "table", [f"dataset.path={path}"], None)
    decoded = data.table.decode(others.images.images.flatten(1))
    assert decoded[names[0]].tolist() == pytest.approx([9, 5, 1])  # in the order of the file
    assert decoded[names[3]].tolist() == pytest.approx([6.5, 2.5, -1.5])
    assert others.name == "others.csv"
    path.write_text(",".join([*names, "more"]) + "\n" + "9,8,7,6.5,\n")
    _, one = kinds_of_images(run.config, data, "table", [f"dataset.path={path}", "dataset.drop=[more]"], None)
    assert torch.equal(one.images.images, others.images.images[:1])
    with pytest.raises(UserError, match=r"dataset.limit=1: --data table takes all rows of a file"):
        kinds_of_images(run.config, data, "table", ["dataset.limit=1"], None)
    path.write_text("a,b\n1,2\n3,4\n5,6\n")
    with pytest.raises(UserError, match=r"column 'sepal length \(cm\)' is missing"):
        kinds_of_images(run.config, data, "table", [f"dataset.path={path}"], None)
    with pytest.raises(UserError, match=r"--data table dataset.path=FILE.csv"):
        kinds_of_images(run.config, data, "digits", [], None)


def test_rows_are_not_announced_as_images(run):
    assert "32 rows of 4 columns, 2 steps of 16 rows" in announcement(run, prepare(run))


def test_what_is_printed_about_rows_does_not_call_them_images(run, capsys):
    report(run, run.read_summary())
    evaluate_run(run.path, ["evaluation.num_samples=20", "checkpoint=last"])
    describe_data("table", ["dataset.path=sklearn:iris"], None)
    draw_latents(run.path, "last", "pca")
    find_anomalies(run.path, Options(checkpoint="last"))
    console().print(probe_table({"codes": {"kmeans_nmi": 1.0}, "pixels": {"kmeans_nmi": 1.0}}, run.unit))
    printed = "".join(capsys.readouterr())
    for text in ("rows/s", "held-out rows", "18 test rows", "scores of rows", "values"):
        assert text in printed
    assert not re.findall(r".*\b(?:image|pixel)s?\b.*", printed)


def test_the_page_of_a_run_on_rows_does_not_call_them_images(run):
    html = page(grouped([run]))
    shown = re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style|pre)\b.*?</\1>", "", html, flags=re.DOTALL))
    assert "Rows seen" in shown
    assert "held-out rows" in shown
    assert not re.findall(r".*\b(?:image|pixel)s?\b.*", shown, flags=re.IGNORECASE)


def test_what_is_done_with_images_is_refused(run, tmp_path):
    for command in (
        lambda: audit_run(run.path, "last", [], Protocol()),
        lambda: export_run(run.path, "last", "onnx", tmp_path),
        lambda: directions_of_run(run.path, [], DirectionOptions(checkpoint="last")),
    ):
        with pytest.raises(UserError, match="has rows of a table, and this command is for images"):
            command()


def test_augment_names_the_metric_of_tables(tmp_path):
    """Before it reads a checkpoint, and without the word in summary.json, which earlier versions did not write."""
    run = make_run(tmp_path / "run", *OPTIONS)
    assert "unit" not in run.read_summary()
    with pytest.raises(UserError, match=r"has rows of a table, and augment is for images.*eval/tstr"):
        augment_run(run.path, "last", [10], 2, 100, 1)


def test_a_loaded_run_encodes_and_decodes_rows(run):
    loaded = load(run.path, checkpoint="last")
    rows = loaded.model.table.encode({name: np.ones(3) for name in loaded.model.table.slices})
    assert torch.equal(loaded.reconstruct(rows), loaded.reconstruct(rows.view(3, 1, 1, 4)))
    with pytest.raises(ValueError, match=r"expected rows \[N, 4\]"):
        loaded.encode(rows[:, :2])
