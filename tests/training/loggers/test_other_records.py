"""MLflow and Trackio, their local stores read back; and a message where a package is missing."""

import csv
import json
import os

import pytest

from lightning_gen.errors import UserError
from lightning_gen.training.loggers.choices import mlflow_logger, trackio_logger
from lightning_gen.training.loggers.record import section_of
from tests.helpers import ForkedWorker, make_run, resume_run, train_run

RUN = ("model=ae", "networks=mlp", "trainer.max_steps=2")
PICTURES = {"samples", "reconstructions", "interpolations"}


def expected(path):
    """The scalars of metrics.csv by their names in a service: values by step."""
    with open(path / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        for name, value in row.items():
            if value and name not in ("step", "seconds"):
                found.setdefault(section_of(name), {})[int(row["step"])] = pytest.approx(float(value))
    return found


def test_mlflow_has_scalars_config_and_pictures_and_continues_after_a_resume(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    run, _ = train_run(tmp_path, *RUN, "logger=[csv,mlflow]")
    resume_run(tmp_path, 4)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("lightning_gen").experiment_id])
    assert found.info.run_name == f"digits-ae-{run.config.id}"
    assert found.info.status == "FINISHED"
    assert found.data.params["model/name"] == "ae"
    assert int(found.data.params["num_parameters/total"]) > 0
    for name, values in expected(tmp_path).items():
        assert {m.step: m.value for m in client.get_metric_history(found.info.run_id, name)} == values
    pictures = {file.path for file in client.list_artifacts(found.info.run_id, "images")}
    for name in PICTURES:
        assert any(name in path and "step+4" in path for path in pictures)


def train_with_trackio(folder):
    """Train and resume a run, and write what its record has to logs.json."""
    os.environ["TRACKIO_DIR"] = str(folder / "store")
    os.chdir(folder)
    train_run(folder / "run", *RUN, "logger=trackio")
    resume_run(folder / "run", 4)
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("lightning_gen")
    (folder / "logs.json").write_text(json.dumps([name, SQLiteStorage.get_logs("lightning_gen", name)]))


def test_trackio_has_scalars_config_and_pictures_and_continues_after_a_resume(tmp_path):
    """In a process of its own, because Trackio reads TRACKIO_DIR when it is imported."""
    pytest.importorskip("trackio")
    process = ForkedWorker.context.Process(target=train_with_trackio, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    name, logs = json.loads((tmp_path / "logs.json").read_text())
    assert name.startswith("digits-ae-")
    for scalar, values in expected(tmp_path / "run").items():
        assert {row["step"]: row[scalar] for row in logs if scalar in row} == values
    for picture in PICTURES:
        rows = [row for row in logs if f"pictures/{picture}" in row]
        assert {row["step"] for row in rows} == {0, 2, 4}
        assert all(row[f"pictures/{picture}"]["caption"].startswith(f"{picture}: step {row['step']}") for row in rows)


@pytest.mark.parametrize(("name", "make"), [("mlflow", mlflow_logger), ("trackio", trackio_logger)])
def test_a_missing_package_is_told_before_training(tmp_path, monkeypatch, name, make):
    run = make_run(tmp_path, "model=ae", f"logger={name}")
    monkeypatch.setattr("lightning_gen.training.loggers.choices.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"logger={name} needs `pip install 'lightning-gen\[{name}\]'`"):
        make(run, "lightning_gen")
