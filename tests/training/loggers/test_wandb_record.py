"""The offline record of wandb, read back: it tells the whole run, also after a resume, and nothing that it should not."""

import csv
import errno
import socket
import time

import pytest

from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.training.loggers.choices import wandb_logger
from lightning_gen.training.loggers.record import section_of
from lightning_gen.training.loggers.wandb_record import has_credentials, logged_in
from tests.helpers import assert_same, make_run, resume_run, train_run
from tests.training.loggers.wandb_reader import parts_of

OFFLINE = ("logger=wandb", "logger.wandb.mode=offline")
GAN = ("model=gan", "networks=mlp", *OFFLINE, "trainer.max_steps=4", "evaluation.every_n_steps=2")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of four steps, resumed up to step 8, and what is in its record."""
    path = tmp_path_factory.mktemp("run")
    run, summary = train_run(path, *GAN, "logger.wandb.tags=[mine]")
    resume_run(path, 8)
    return run, summary, parts_of(path)


def test_a_row_for_each_step_has_all_numbers_of_metrics_csv_and_the_images_seen(recorded):
    run, _, parts = recorded
    with open(run.path / "metrics.csv") as file:
        expected = {int(row["step"]): row for row in csv.DictReader(file)}
    rows = {row["_step"]: row for part in parts for row in part.rows}
    assert set(rows) == set(expected) == set(range(9))
    for step, row in rows.items():
        assert row["progress/step"] == step
        for name, text in expected[step].items():
            if text and name not in ("step", "seconds"):
                assert row[section_of(name)] == pytest.approx(float(text))


def test_names_begin_with_the_section_of_the_dashboard(recorded):
    *_, parts = recorded
    sections = {name.split("/")[0] for part in parts for row in part.rows for name in row if name[0] != "_"}
    assert sections == {"progress", "train", "diagnostics", "eval", "pictures"}
    assert section_of("lr-Adam") == "diagnostics/lr-Adam"
    assert section_of("train/grad_norm_generator") == "diagnostics/grad_norm_generator"
    assert section_of("train/loss") == "train/loss"


def test_after_a_resume_the_same_run_continues_its_steps(recorded):
    run, _, parts = recorded
    assert [part.run.run_id for part in parts] == [run.config.id] * 2
    assert all(part.run.resume for part in parts)
    assert [[row["_step"] for row in part.rows] for part in parts] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


def test_the_config_has_all_keys_and_the_numbers_of_parameters(recorded):
    run, _, parts = recorded
    for part in parts:
        assert part.config["model"]["name"] == "gan"
        assert part.config["dataset"]["batch_size"] == 16
    counts = parts[0].config["num_parameters"]
    weights = run.read_checkpoint()["state_dict"]
    assert counts["total"] == sum(weight.numel() for weight in weights.values())
    assert counts["total"] == counts["generator"] + counts["discriminator"]


def test_runs_are_grouped_and_tagged_by_model_and_data_set(recorded):
    *_, parts = recorded
    assert (parts[0].run.run_group, parts[0].run.job_type) == ("digits-gan", "run")
    assert list(parts[0].run.tags) == ["gan", "digits", "mine"]


def test_every_chart_stands_over_steps_and_the_summary_keeps_the_best(recorded):
    _, summary, parts = recorded
    metrics = parts[0].metrics
    names = {name for row in parts[0].rows for name in row if name[0] != "_"}
    assert set(metrics) == names - {"pictures/nearest_training_images"}
    assert {metric.step_metric for metric in metrics.values()} == {"progress/step"}
    assert metrics["eval/fid_classifier"].summary.min
    assert metrics["eval/classes_found"].summary.max
    for name in ("train/loss_generator", "eval/fid_classifier_floor", "eval/diversity"):  # neither end is better
        assert not metrics[name].HasField("summary") or not metrics[name].summary.ListFields()
    lowest = min(row["eval/fid_classifier"] for row in parts[0].rows if "eval/fid_classifier" in row)
    assert parts[0].summary["eval/fid_classifier"] == {"min": lowest}
    assert parts[0].summary["best"] == summary["best"]
    assert parts[0].summary["best"]["value"] == pytest.approx(lowest)
    assert parts[0].summary["status"] == "completed"


def test_pictures_stand_on_the_slider_of_steps_with_a_caption(recorded):
    run, _, parts = recorded
    rows = [row for part in parts for row in part.rows if "pictures/samples" in row]
    assert [row["_step"] for row in rows] == [0, 2, 4, 6, 8]
    for row in rows:
        picture = row["pictures/samples"]
        assert picture["caption"] == f"samples: step {row['_step']}, {row['progress/images_seen']} images seen"
        assert list(run.path.glob(f"wandb/offline-run-*/files/{picture['path']}"))


def test_a_table_has_samples_beside_their_nearest_training_image(recorded):
    run, _, parts = recorded
    table = parts[0].rows[-1]["pictures/nearest_training_images"]
    assert (table["_type"], table["nrows"], table["ncols"]) == ("table-file", 16, 3)
    (artifact,) = parts[0].artifacts
    assert artifact.type == "run_table"
    files = [content.local_path for content in artifact.manifest.contents]
    assert all(file.startswith(str(run.path)) for file in files)  # a run directory is enough


def test_nothing_of_the_machine_and_no_code_unless_asked_for(recorded):
    run, _, parts = recorded
    for part in parts:
        assert not part.run.host
        assert not part.run.git.commit
        assert "environment" not in part.kinds
    files = {file.name for file in run.path.glob("wandb/offline-run-*/files/*")}
    assert files == {"media"}  # no requirements.txt, no diff, no output of the terminal


def test_on_request_histograms_code_environment_and_artifacts(tmp_path):
    extras = {"histograms": 2, "code": "true", "environment": "true", "artifacts": "true"}
    train_run(tmp_path, *GAN, *(f"logger.wandb.extras.{key}={value}" for key, value in extras.items()))
    (part,) = parts_of(tmp_path)
    with_weights = [row["_step"] for row in part.rows if "weights/generator.net.0.weight" in row]
    assert with_weights == [2, 4]
    assert part.rows[2]["gradients/generator.net.0.weight"]["_type"] == "histogram"
    kinds = {artifact.type: artifact for artifact in part.artifacts}
    assert set(kinds) == {"code", "run_table", "config", "model"}
    assert [content.path for content in kinds["model"].manifest.contents] == ["best.ckpt"]
    assert "training/train.py" in {content.path for content in kinds["code"].manifest.contents}
    assert part.run.host == socket.gethostname()
    assert list(tmp_path.glob("wandb/offline-run-*/files/requirements.txt"))


def test_each_job_of_a_grid_has_its_record_in_the_group_of_the_grid(tmp_path, train_command):
    short = ("networks=mlp", "trainer.max_steps=1", "evaluation.num_samples=20", "evaluation.nll.k=0")
    folder = tmp_path / "my_grid"
    done = train_command("-m", "model=ae,vae", "dataset=digits", *OFFLINE, *short, f"hydra.sweep.dir={folder}")
    assert done.returncode == 0, done.stderr
    for job, model in enumerate(("ae", "vae")):
        (part,) = parts_of(folder / str(job))
        assert part.run.run_id == Run.load(folder / str(job)).config.id
        assert (part.run.run_group, part.run.job_type) == ("my_grid", "run")
        assert list(part.run.tags) == [model, "digits", "my_grid"]
        assert part.rows[-1]["_step"] == 1


def test_a_trial_of_a_search_is_of_the_type_trial(tmp_path):
    (tmp_path / "multirun.yaml").touch()
    run = make_run(tmp_path / "0", "model=ae", *OFFLINE, "sweep.trial=3")
    logger = wandb_logger(run, "offline", "p", None, None, [])
    assert (logger.start["group"], logger.start["job_type"]) == (tmp_path.name, "trial")


def raises_no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("broken", "by", "timeout", "said"),
    [
        ("wandb.init", raises_no_space, 60, "No space left on device"),
        ("wandb.Run.log", raises_no_space, 60, "No space left on device"),
        ("wandb.init", lambda **_: time.sleep(120), 0.3, "it has not answered for 0.3 seconds"),
    ],
)
def test_a_broken_wandb_neither_stops_nor_changes_nor_delays_training(
    tmp_path, monkeypatch, capsys, broken, by, timeout, said
):
    options = ("model=ae", "networks=mlp", "trainer.max_steps=3")
    train_run(tmp_path / "without", *options)
    monkeypatch.setattr(broken, by)
    start = time.monotonic()
    _run, summary = train_run(tmp_path / "with", *options, *OFFLINE, f"logger.wandb.timeout={float(timeout)}")
    assert time.monotonic() - start < 60  # not the 120 seconds of the one that hangs
    assert summary["status"] == "completed"
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: wandb")]
    assert len(warnings) == 1
    assert said in warnings[0]
    weights = (Run.load(tmp_path / name).read_checkpoint()["state_dict"] for name in ("without", "with"))
    assert_same(*weights)


def test_without_a_network_a_logged_in_user_gets_an_offline_record(tmp_path, monkeypatch, capsys):
    import wandb

    def refuses(**_):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb.login", refuses)
    train_run(tmp_path, "model=ae", "networks=mlp", "logger=wandb", "trainer.max_steps=1")
    (part,) = parts_of(tmp_path)
    assert part.rows[-1]["_step"] == 1
    assert "wandb cannot log in (no route to host); it stays offline" in capsys.readouterr().err
    assert not logged_in()


def test_mode_online_without_a_login_is_an_error_before_training(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    run = make_run(tmp_path / "run", "model=ae", "logger=wandb")
    with pytest.raises(UserError, match="wandb login"):
        wandb_logger(run, "online", "p", None, None, [])


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com", "wandb.uni.example"])
def test_a_login_is_found_where_wandb_keeps_it(tmp_path, monkeypatch, host):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_credentials()
    (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_credentials()


@pytest.mark.parametrize("mode", ["offline", "disabled", "auto"])
def test_without_a_login_wandb_asks_the_network_nothing(tmp_path, monkeypatch, mode):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("wandb.login", lambda **_: pytest.fail("a login asks the network"))
    run = make_run(tmp_path / "run", "model=ae", "logger=wandb", f"logger.wandb.mode={mode}")
    logger = wandb_logger(run, mode, "project", None, None, [])
    assert logger is None if mode == "disabled" else logger.start["mode"] == "offline"
