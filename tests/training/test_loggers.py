"""metrics.csv always; wandb offline and tensorboard by choice."""

import csv
import json
import tracemalloc

import pytest
import torch

from lightning_gen.training.loggers import MetricsCSV, wandb_logger
from tests.helpers import make_run, resume_run, train_run


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


def test_wandb_offline_goes_on_under_its_id(tmp_path):
    options = ("model=vae", "networks=mlp", "logger=wandb", "logger.wandb.mode=offline", "trainer.max_steps=2")
    run, _ = train_run(tmp_path, *options, "evaluation.projection=pca")
    resume_run(tmp_path, 4)
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 or len({f.name for f in folders}) == 1
    assert all(folder.name.endswith(run.config.id) for folder in folders)
    pictures = {p.name.rsplit("_", 2)[0] for folder in folders for p in folder.rglob("media/images/*.png")}
    assert pictures == {"samples", "reconstructions", "interpolations", "latents", "traversals", "kl_per_dimension"}


def test_each_of_two_trainings_in_a_process_has_its_own_wandb_record(tmp_path):
    options = ("model=ae", "networks=mlp", "logger=wandb", "logger.wandb.mode=offline", "trainer.max_steps=1")
    for name in ("one", "other"):
        run, _ = train_run(tmp_path / name, *options)
        (folder,) = (tmp_path / name / "wandb").glob("offline-run-*")
        assert folder.name.endswith(run.config.id)


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
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    pictures = {p.name.rsplit("_", 2)[0] for p in folder.rglob("media/images/*.png")}
    assert pictures == {"samples", "reconstructions", "interpolations"} == set(events.Tags()["images"])
    record = (folder / f"run-{run.config.id}.wandb").read_bytes()
    assert b"train/loss" in record
    assert b"eval/reconstruction_mse" in record


def test_all_numbers_are_in_the_summary(tmp_path):
    _, summary = train_run(tmp_path, "model=ae", "networks=mlp", "trainer.max_steps=2")
    last = {}
    for row in read(tmp_path / "metrics.csv"):
        last |= {
            name: float(value)
            for name, value in row.items()
            if value and name not in ("step", "images_seen", "seconds")
        }
    assert last == json.loads(json.dumps(summary["metrics"]))
    assert isinstance(summary["metrics"]["train/loss"], float)
    assert not any(isinstance(value, torch.Tensor) for value in summary["metrics"].values())


@pytest.mark.parametrize("mode", ["offline", "disabled", "auto"])
def test_without_a_login_wandb_asks_the_network_nothing(tmp_path, monkeypatch, mode):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("wandb.login", lambda **_: pytest.fail("a login asks the network"))
    run = make_run(tmp_path / "run", "model=ae", "logger=wandb", f"logger.wandb.mode={mode}")
    wandb_logger(run, mode, "project", None, None, [])
