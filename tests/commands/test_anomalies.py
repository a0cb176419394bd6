"""lightning-gen anomalies, on runs that know some of the digits."""

import csv
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.errors import UserError
from tests.helpers import train_run

KNOWN = "dataset.classes=[5,3,8]"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("anomalies") / "run"
    options = ("model=vae", "model/likelihood=gaussian", "dataset.dequantize=true", "networks=mlp")
    return train_run(path, *options, "trainer.max_steps=20", KNOWN)[0]


def call(*arguments):
    return CliRunner().invoke(app, ["anomalies", *map(str, arguments)], catch_exceptions=False).output


def rows(run, name):
    with open(run.path / "anomalies" / name / "anomalies.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_classes_that_were_left_out_are_the_anomalies(run):
    printed = call(run.path, "--draws", "2", "--background", run.path)
    scores = ["reconstruction_error", "bound", "nll", "complexity", "likelihood_ratio"]
    scores += ["mahalanobis", "nearest_codes", "nearest_pixels"]
    found = rows(run, "classes")
    assert list(found[0]) == ["data", "image", "class", "anomaly", *scores]
    assert len(found) == 360  # all test images
    assert {row["class"] for row in found if row["anomaly"] == "0"} == {"5", "3", "8"}
    assert {row["class"] for row in found if row["anomaly"] == "1"} == set("0124679")
    assert {row["likelihood_ratio"] for row in found} == {"0.0"}  # the run is its own background
    assert re.search(r"likelihood_ratio +0\.500 \(0\.500-0\.500\)", printed)
    (entry,) = run.read_summary()["anomalies"]
    assert list(entry["metrics"]) == scores
    assert entry["protocol"]["normal"]["n"] + entry["protocol"]["anomalies"]["n"] == 360
    assert {file.stem for file in (run.path / "anomalies/classes").glob("*.png")} == {*scores, "scores"}
    assert Image.open(run.path / "anomalies/classes/nll.png").width >= 600


def test_another_data_set_is_the_anomalies(run):
    call(run.path, "--data", "digits", "dataset.classes=[0]", "--images", "20", "--draws", "2")
    found = rows(run, "digits")
    assert [row["anomaly"] for row in found] == ["0"] * 20 + ["1"] * 20
    assert {row["class"] for row in found[20:]} == {"0"}


def test_a_gan_of_all_classes_scores_by_its_discriminator(tmp_path):
    run, _ = train_run(tmp_path / "gan", "model=gan", "networks=mlp", "trainer.max_steps=2", "dataset.labels=false")
    assert "AUROC" not in call(run.path)  # nobody says which are anomalies
    found = rows(run, "test")
    assert list(found[0]) == ["data", "image", "class", "anomaly", "discriminator", "nearest_pixels"]
    assert {row["anomaly"] for row in found} == {""}


def test_what_cannot_be_scored_is_told(run, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.root=x: overrides are of another data set"):
        call(run.path, "dataset.root=x")
    with pytest.raises(UserError, match="there are 430 training images"):
        call(run.path, "--neighbours", "5000", "--draws", "1", "--images", "2")
    conditional, _ = train_run(tmp_path / "c", "model=gan", "conditional=true", "networks=mlp", "trainer.max_steps=1")
    with pytest.raises(UserError, match="conditional=false"):
        call(conditional.path)


def test_points_in_the_plane_are_refused(tmp_path):
    points, _ = train_run(tmp_path / "run", "model=gan", "dataset=gaussians", "networks=mlp", "trainer.max_steps=1")
    with pytest.raises(UserError, match="dataset=gaussians has points in the plane"):
        call(points.path)
