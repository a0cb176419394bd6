"""A search trains each trial once, whatever interrupts it, and records how each ended."""

import sys

import optuna
import pytest
from optuna.trial import TrialState

from lightning_gen.runs.run import Run
from lightning_gen.search.study import JOURNAL, open_storage
from lightning_gen.search.workers import is_orphan, this_process
from tests.helpers import QUICK

SEARCH = (
    *QUICK,
    "-m",
    "hydra/sweeper=search",
    "model=ae",
    "networks=mlp",
    "networks.encoder.widths=[8]",
    "trainer.max_steps=4",
    "evaluation.every_n_steps=2",
    "sweep.trials=3",
)
RATES = "model.optimizer.lr=tag(log,interval(1e-4,1e-2))"


@pytest.fixture
def search(tmp_path, train_command):
    """Run a search in `tmp_path`; returns how the command ended and the study."""

    def call(*arguments):
        done = train_command(*SEARCH, f"hydra.sweep.dir={tmp_path}", *arguments)
        return done, study_of(tmp_path) if (tmp_path / JOURNAL).exists() else None

    return call


def study_of(path):
    return optuna.load_study(study_name=path.name, storage=open_storage(None, path))


def test_trials_are_runs(tmp_path, search):
    done, study = search(RATES)
    assert done.returncode == 0, done.stderr
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    for trial in study.trials:
        run = Run.load(tmp_path / str(trial.number))
        assert run.config.model.optimizer.lr == trial.params["model.optimizer.lr"]
        assert trial.values == [run.read_summary()["best"]["value"]]
    assert len({trial.params["model.optimizer.lr"] for trial in study.trials}) == 3
    assert f"best: trial {study.best_trial.number}" in done.stdout


def test_the_same_command_goes_on(tmp_path, search):
    search(RATES, "sweep.trials=2")
    before = [(tmp_path / str(n) / "checkpoints" / "last.ckpt").stat().st_mtime_ns for n in (0, 1)]
    done, study = search(RATES, "sweep.trials=3")
    assert done.returncode == 0, done.stderr
    assert len(study.trials) == 3
    assert before == [(tmp_path / str(n) / "checkpoints" / "last.ckpt").stat().st_mtime_ns for n in (0, 1)]
    assert len({trial.params["model.optimizer.lr"] for trial in study.trials}) == 3  # no draw is repeated
    assert len(search(RATES, "sweep.trials=3")[1].trials) == 3


def test_interrupted_trial_is_resumed(tmp_path, search, monkeypatch):
    """As after a kill -9: the run has a checkpoint, the worker is dead, and nobody told the result."""

    def killed(*_):
        Run.load(tmp_path / "0").write_summary(status="running")
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_gen.search.search.Search._tell", killed)
    monkeypatch.setattr("lightning_gen.search.search.this_process", lambda: this_process().rsplit(":", 1)[0] + ":0")
    done, study = search(RATES, "sweep.trials=1")
    assert done.returncode == 130
    assert study.trials[0].state == TrialState.RUNNING
    monkeypatch.undo()
    rows = (tmp_path / "0" / "metrics.csv").read_text()
    done, study = search(RATES, "sweep.trials=2")
    assert done.returncode == 0, done.stderr
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert study.trials[0].user_attrs["attempts"] == 2
    assert (tmp_path / "0" / "metrics.csv").read_text() == rows  # nothing was trained twice


def test_resume_of_the_folder_goes_on(tmp_path, search, train_command, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lightning_gen.search.search.Search._give_up_if_hopeless", lambda _: sys.exit(130))
        search(RATES, "sweep.trials=2")
    assert [trial.state for trial in study_of(tmp_path).trials] == [TrialState.COMPLETE]
    done = train_command(f"resume={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert [trial.state for trial in study_of(tmp_path).trials] == [TrialState.COMPLETE] * 2


def test_another_search_in_the_same_folder_is_refused(search):
    search(RATES, "sweep.trials=1")
    done, study = search("model.latent_dim=2,4", "sweep.trials=2")
    assert done.returncode == 2
    assert "another space" in done.stderr
    assert len(study.trials) == 1


def test_diverged_and_failed_trials_are_recorded(search):
    done, study = search(
        "model.optimizer.lr=1e-3,1e30", "sweep.sampler=grid", "trainer.max_steps=6", "sweep.trials=2"
    )
    assert done.returncode == 0, done.stderr
    found = {float(trial.params["model.optimizer.lr"]): trial for trial in study.trials}
    assert found[1e-3].state == TrialState.COMPLETE
    assert found[1e30].state == TrialState.FAIL
    assert found[1e30].user_attrs["status"] == "nan"


def test_search_of_mistakes_stops(search):
    done, study = search("dataset.batch_size=16", "model.latent_dim=-1,-2,-3,-4", "sweep.trials=9")
    assert done.returncode == 2
    assert "The first 3 trials failed" in done.stderr
    assert len(study.trials) == 3


def test_pruning_ends_a_bad_trial(tmp_path, search):
    done, study = search(
        "model.optimizer.lr=1e-2,1e-9",
        "sweep.sampler=grid",
        "sweep.seed=1",
        "trainer.max_steps=40",
        "evaluation.every_n_steps=10",
        "sweep.pruner=median",
        "sweep.pruner_options={n_startup_trials: 1}",
    )
    assert done.returncode == 0, done.stderr
    good, bad = sorted(study.trials, key=lambda trial: trial.params["model.optimizer.lr"] != "1e-2")
    assert good.number == 0, "the seed of the grid decides the order; this test needs the good one first"
    assert good.state == TrialState.COMPLETE
    assert bad.state == TrialState.PRUNED
    run = Run.load(tmp_path / "1")
    summary = run.read_summary()
    assert summary["status"] == "pruned"
    assert summary["progress"]["step"] == 10
    assert run.read_checkpoint("last")["global_step"] == 10
    assert summary["best"]["value"] == bad.intermediate_values[10]


def test_several_metrics(search):
    done, study = search("model.latent_dim=1,8", "sweep.metrics=[eval/psnr,eval/ssim]", "sweep.trials=2")
    assert done.returncode == 0, done.stderr
    assert all(len(trial.values) == 2 for trial in study.trials)
    assert "on the Pareto front" in done.stdout


def test_seeds_and_repeats(tmp_path, search):
    """A trial's value is the mean over its seeds; the winner is trained again with other seeds."""
    done, study = search("model.latent_dim=1,8", "sweep.trials=1", "sweep.seeds=2", "sweep.repeat_best=2")
    assert done.returncode == 0, done.stderr
    values = [Run.load(tmp_path / "0" / f"seed_{seed}").read_summary()["best"]["value"] for seed in (0, 1)]
    assert study.trials[0].value == pytest.approx(sum(values) / 2)
    again = [Run.load(tmp_path / "repeats_of_0" / f"seed_{seed}").read_summary()["best"]["value"] for seed in (2, 3)]
    assert study.user_attrs["repeated"] == {"trial": 0, "values": again}


def test_enqueued_run_is_tried_first(tmp_path, search, train_command):
    before = tmp_path / "before"
    train_command(
        *QUICK,
        "model=ae",
        "networks=mlp",
        "trainer.max_steps=1",
        "model.optimizer.lr=0.00123",
        f"hydra.run.dir={before}",
    )
    _, study = search(RATES, f"sweep.enqueue=['{before}']", "sweep.trials=2")
    assert study.trials[0].params["model.optimizer.lr"] == 0.00123
    assert study.trials[0].user_attrs["from"] == str(before)
    assert len(study.trials) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep.pruner=median", "sweep.metrics=[eval/psnr,eval/ssim]"], "needs a single metric"),
        (["sweep.pruner=wilcoxon"], "set sweep.seeds to 2 or more"),
        (["sweep.repeat_best=2", "sweep.metrics=[eval/psnr,eval/ssim]"], "needs a single metric"),
        (["sweep.sampler_options={n_start: 3}"], "has no n_start"),
        (["sweep.sampler=grid"], "needs single values"),
        (["sweep.metrics=[eval/auth_pct]"], "set sweep.modes"),
        (["sweep.enqueue=[nowhere]"], "is not a run directory"),
        (["sweep.storage=nonsense"], "cannot be opened"),
    ],
)
def test_settings_that_do_not_go_together(search, arguments, message):
    done, study = search(RATES, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert study is None or not study.trials


def test_a_sweep_without_m_is_told(tmp_path, train_command):
    done = train_command("sweeps=gan_search", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 2
    assert "start it with -m" in done.stderr


def test_workers():
    me = this_process()
    assert not is_orphan(me)
    assert is_orphan(me.rsplit(":", 1)[0] + ":0")  # the number is used again by a process that started later
    assert not is_orphan("elsewhere:1:1")
