"""lightning_gen.train is python train.py: the same run, and nothing of it left in the process."""

import gc
import os
import random
import signal
import sys

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

import lightning_gen as lg
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.runs.run import Run
from lightning_gen.training.train import train
from tests.helpers import assert_same, quick

OPTIONS = ("model=ae", "networks=mlp", "trainer.max_steps=3")


@pytest.fixture(autouse=True)
def _in_a_notebook(tmp_path, monkeypatch):
    """A folder of its own, and arguments that are not ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])


def states():
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002 the global one
        "python": random.getstate()[1],
        "signals": {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)},
    }


def interrupt_after(count, times, monkeypatch):
    """Ctrl-C, `times` in a row, in the step after `count` of them."""
    original = Autoencoder.count_images

    def counting(model, batch):
        original(model, batch)
        if model.step == count:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Autoencoder, "count_images", counting)


def test_it_makes_the_run_that_the_command_makes(tmp_path, train_command, capfd):
    run = lg.train(*quick(*OPTIONS))
    told = capfd.readouterr()
    assert run.path.parent == tmp_path / "runs" / "digits" / "ae"
    assert (tmp_path / "runs" / "latest").resolve() == run.path
    done = train_command(*quick(*OPTIONS), "hydra.run.dir=command")
    other = Run.load("command")
    assert_same(
        *({p: one.read_checkpoint()[p] for p in ("state_dict", "optimizer_states")} for one in (run._run, other))
    )
    for key in set(other.config) - {"id", "command"}:
        assert run.config[key] == other.config[key]
    names = [{str(p.relative_to(d)) for p in d.rglob("*")} for d in (run.path, other.path)]
    assert names[0] == names[1]
    assert OmegaConf.load(run.path / ".hydra" / "overrides.yaml") == quick(*OPTIONS)
    assert run.config.command.startswith("lightning_gen.train('logger=csv', ")
    assert [line.split()[0] for line in told.err.splitlines()] == [
        line.split()[0] for line in done.stderr.splitlines()
    ]
    assert "completed: 3 steps" in told.out


def test_it_goes_on_with_a_run(tmp_path):
    first = lg.train(*quick(*OPTIONS), "hydra.run.dir=mine")
    again = lg.train("resume=mine", "trainer.max_steps=5")
    assert first.path == again.path == tmp_path / "mine"
    assert (first.summary["progress"]["step"], again.config.trainer.max_steps) == (5, 5)
    straight = lg.train(*quick(*OPTIONS, "trainer.max_steps=5"))
    assert_same(*(run._run.read_checkpoint()["state_dict"] for run in (straight, again)))


@pytest.mark.parametrize("more", [(), ("model.optimizer.lr=1e30", "trainer.max_steps=20")])
def test_it_leaves_the_process_as_it_was(more):
    """Also where training fails."""
    before = states()
    with hydra.initialize(version_base=None):
        theirs = GlobalHydra.instance().hydra
        if more:
            with pytest.raises(lg.UserError, match="the loss is not finite"):
                lg.train(*quick(*OPTIONS, *more))
        else:
            lg.train(*quick(*OPTIONS))
        assert GlobalHydra.instance().hydra is theirs
    assert_same(states(), before)
    gc.collect()  # also what an error's traceback held
    assert [thing for thing in gc.get_objects() if type(thing) is Trainer] == []  # nor the model's memory


def test_ctrl_c_saves_and_stops_the_loop_that_calls(monkeypatch):
    before = states()["signals"]
    with monkeypatch.context() as patched:
        interrupt_after(2, times=1, monkeypatch=patched)
        with pytest.raises(KeyboardInterrupt):
            lg.train(*quick(*OPTIONS, "trainer.max_steps=1000"), "hydra.run.dir=runs/mine")
    assert states()["signals"] == before
    run = lg.load("runs/latest", checkpoint="last")
    assert (run.summary["status"], run.model.step_loaded) == ("interrupted", 3)
    assert lg.train("resume=runs/latest", "trainer.max_steps=5").summary["progress"]["step"] == 5


def test_ctrl_c_twice_stops_at_once_and_is_no_exit(monkeypatch):
    before = states()["signals"]
    interrupt_after(2, times=2, monkeypatch=monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        lg.train(*quick(*OPTIONS, "trainer.max_steps=1000"))
    assert states()["signals"] == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=gna"], "model=gna does not exist.*Did you mean 'gan'"),
        (["trainer.max_step=5"], "Did you mean 'trainer.max_steps'"),
        (["dataset.size=30"], "Set dataset.size to 28"),
        (["hydra.run.dir=/proc/x/y"], "hydra.run.dir: /proc/x.* cannot be made"),
        (["resume=/nonexistent"], "resume=/nonexistent is not a run directory"),
        (["-m", "seed=0,1"], "-m works only on the command line.*For a grid, call it in a loop"),
        (["--cfg", "job"], "--cfg works only on the command line"),
        (["seed=0,1"], "seed=0,1 works only on the command line"),
        (["sweeps=gan_learning_rate"], "sweeps=gan_learning_rate works only on the command line"),
        (["hydra.mode=MULTIRUN"], "hydra.mode=MULTIRUN works only on the command line"),
        ([["model=ae"]], "overrides as strings"),
    ],
)
def test_a_mistake_is_raised_and_leaves_nothing(tmp_path, capfd, overrides, message):
    with pytest.raises(lg.UserError, match=message):
        lg.train(*overrides)
    assert [str(p) for p in tmp_path.rglob("config.yaml")] == []
    assert capfd.readouterr() == ("", "")


def test_it_is_not_for_processes_that_a_launcher_started(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(lg.UserError, match=r"without torchrun or srun, with trainer\.devices=N"):
        lg.train(*quick(*OPTIONS))


def test_several_devices_train_the_directory_that_is_then_loaded(monkeypatch):
    """One process stands in for the two that are launched: they train from the run directory alone."""

    def launch(path, count, timeout):
        run = Run.load(path)
        assert count == run.config.trainer.devices == 2
        run.config.trainer.devices = 1
        train(run)
        return 0

    monkeypatch.setattr("lightning_gen.commands.job.launch", launch)
    run = lg.train(*quick(*OPTIONS, "trainer.devices=2"))
    assert (run.model.step_loaded, run.summary["status"]) == (3, "completed")


def test_a_process_that_failed(monkeypatch):
    monkeypatch.setattr("lightning_gen.commands.job.launch", lambda path, count, timeout: 1)
    with pytest.raises(RuntimeError, match="a process of this run ended with exit code 1"):
        lg.train(*quick(*OPTIONS, "trainer.devices=2"))
    assert Run.load("runs/latest").read_summary()["status"] == "failed"
