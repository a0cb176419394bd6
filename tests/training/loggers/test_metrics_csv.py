"""metrics.csv always; wandb offline and tensorboard by choice."""

import csv
import json
import tracemalloc

import pytest
import torch

from lightning_gen.training.loggers.metrics_csv import MetricsCSV
from tests.helpers import train_run
from tests.training.loggers.wandb_reader import parts_of


def read(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_metrics_csv_survives_new_columns_and_resumes(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path)
    log.log_metrics({"loss": 1.0, "images_seen": 8}, step=1)
    log.log_metrics({"loss": 0.5, "images_seen": 16}, step=2)
    log.log_metrics({"fid": 3.0, "images_seen": 16}, step=2)
    log.log_metrics({"loss": 0.25, "images_seen": 24}, step=3)
    assert read(path) == [
        {"step": "1", "images_seen": "8", "loss": "1.0", "fid": ""},
        {"step": "2", "images_seen": "16", "loss": "0.5", "fid": "3.0"},
        {"step": "3", "images_seen": "24", "loss": "0.25", "fid": ""},
    ]
    with open(path, "a") as file:
        file.write("4,3")  # killed while writing
    again = MetricsCSV(path)
    again.drop_after(2)
    again.log_metrics({"loss": 0.3, "images_seen": 24}, step=3)
    assert [(row["step"], row["loss"]) for row in read(path)] == [("1", "1.0"), ("2", "0.5"), ("3", "0.3")]
    MetricsCSV(path).log_metrics(
        {"nll": 7.0, "images_seen": 24}, step=3
    )  # an evaluation of a run that has no step left
    assert read(path)[-1] == {"step": "3", "images_seen": "24", "loss": "0.3", "fid": "", "nll": "7.0"}


def test_rows_stay_on_disk_and_not_in_memory(tmp_path):
    log = MetricsCSV(tmp_path / "metrics.csv")
    log.log_metrics({"loss": 0.0, "fid": 0.0, "images_seen": 0}, step=0)
    tracemalloc.start()
    for step in range(1, 2001):
        log.log_metrics({"loss": step / 7, "images_seen": step}, step=step)
        log.log_metrics({"fid": step / 3, "images_seen": step}, step=step)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 50_000  # bytes; 2,000 rows would be about a million
    rows = read(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows] == list(range(2001))
    assert all(float(row["fid"]) == int(row["step"]) / 3 for row in rows)
    assert all(float(row["loss"]) == int(row["step"]) / 7 for row in rows)


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_run(tmp_path, "model=ae", "networks=mlp", "logger=tensorboard", "trainer.max_steps=2")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]
    assert [event.value for event in events.Scalars("images_seen")] == [0, 16, 32, 32]
    assert {"samples", "reconstructions", "interpolations"} <= set(events.Tags()["images"])


def test_a_list_of_loggers_gets_scalars_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = ("logger=[csv,wandb,tensorboard]", "logger.wandb.mode=offline")
    run, _ = train_run(tmp_path, "model=ae", "networks=mlp", *loggers, "trainer.max_steps=2")
    assert list(run.config.logger) == ["wandb", "tensorboard"]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    in_csv = [float(row["train/loss"]) for row in read(tmp_path / "metrics.csv") if row["train/loss"]]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(in_csv)
    (part,) = parts_of(tmp_path)
    assert [row["train/loss"] for row in part.rows if "train/loss" in row] == pytest.approx(in_csv)
    pictures = {name for row in part.rows for name in row if row[name] and str(row[name]).count("image-file")}
    assert pictures == {f"pictures/{name}" for name in events.Tags()["images"]}
    assert set(events.Tags()["images"]) == {"samples", "reconstructions", "interpolations"}


def test_all_numbers_are_in_the_summary(tmp_path):
    _, summary = train_run(tmp_path, "model=ae", "networks=mlp", "trainer.max_steps=2")
    last = {}
    seconds = [float(row["seconds"]) for row in read(tmp_path / "metrics.csv")]
    assert 0 < seconds[0] < seconds[-1] <= summary["progress"]["seconds"]
    for row in read(tmp_path / "metrics.csv"):
        last |= {
            name: float(value)
            for name, value in row.items()
            if value and name not in ("step", "images_seen", "seconds")
        }
    assert last == json.loads(json.dumps(summary["metrics"]))
    assert isinstance(summary["metrics"]["train/loss"], float)
    assert not any(isinstance(value, torch.Tensor) for value in summary["metrics"].values())
