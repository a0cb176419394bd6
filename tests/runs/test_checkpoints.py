"""A checkpoint that is lost or damaged is found, and the one before takes its place."""

import random
import shutil

import pytest

from lightning_gen.errors import UserError
from lightning_gen.files import is_intact
from lightning_gen.training.callbacks.evaluation import Evaluation
from tests.helpers import assert_same, resume_run, train_run

OPTIONS = ("model=ae", "networks=mlp", "checkpoint.every_n_steps=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_run(tmp_path_factory.mktemp("trained"), *OPTIONS, "trainer.max_steps=5")[0]


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained.path, tmp_path / "run")


def flip(path, position, bit):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_every_flipped_bit_is_found(run_dir):
    path = run_dir / "checkpoints" / "last.ckpt"
    assert is_intact(path)
    length, draw = path.stat().st_size, random.Random(0)
    for position in [0, *(draw.randrange(length) for _ in range(30)), *range(length - 95, length)]:
        bit = draw.randrange(8)
        flip(path, position, bit)
        assert not is_intact(path), position
        flip(path, position, bit)
    assert is_intact(path)


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_the_one_before_takes_its_place_and_the_result_is_the_same(trained, run_dir, capsys, damage):
    last = run_dir / "checkpoints" / "last.ckpt"
    if damage == "flipped":
        flip(last, last.stat().st_size // 2, 3)
    else:
        last.unlink()
    resumed, _ = resume_run(run_dir, 5)
    expected = f"last.ckpt is {'damaged' if damage == 'flipped' else 'missing'}: resuming from "
    assert expected in capsys.readouterr().err
    for part in ("state_dict", "optimizer_states", "random_state", "global_step"):
        assert_same(trained.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert resumed.read_checkpoint("previous")["global_step"] == 4  # the damaged file has not replaced it


@pytest.mark.parametrize(
    ("keep", "earlier"),
    [
        (0, {}),
        (1, {"previous": 6}),
        (3, {"previous": 6, "step_00000005": 5, "step_00000004": 4}),
        (9, {"previous": 6, **{f"step_{step:08d}": step for step in range(6)}}),
    ],
)
def test_earlier_checkpoints_stay(tmp_path, keep, earlier):
    each = (*OPTIONS[:2], "checkpoint.every_n_steps=1", f"checkpoint.keep={keep}")
    run, _ = train_run(tmp_path, *each, "trainer.max_steps=7")
    found = {
        path.stem: run.read_checkpoint(path.stem)["global_step"] for path in (tmp_path / "checkpoints").iterdir()
    }
    assert found.pop("best") >= 0
    assert found == {"last": 7} | earlier


def test_an_earlier_checkpoint_takes_the_place_of_several(tmp_path, capsys):
    each = (*OPTIONS[:2], "checkpoint.every_n_steps=1", "checkpoint.keep=3")
    run, _ = train_run(tmp_path, *each, "trainer.max_steps=7")
    expected = run.read_checkpoint()["state_dict"]
    flip(run.checkpoint_path("last"), 1000, 3)
    flip(run.checkpoint_path("previous"), 1000, 3)
    resumed, _ = resume_run(tmp_path, 7)
    assert "step_00000005.ckpt, step 5" in capsys.readouterr().err
    assert_same(resumed.read_checkpoint()["state_dict"], expected)
    names = {path.stem for path in (tmp_path / "checkpoints").glob("step*")}
    assert names == {"step_00000005", "step_00000004"}


def test_without_both_the_run_does_not_start_again(run_dir):
    for name in ("last", "previous"):
        (run_dir / "checkpoints" / f"{name}.ckpt").unlink()
    metrics = (run_dir / "metrics.csv").read_text()
    best, last = run_dir / "checkpoints" / "best.ckpt", run_dir / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=f"is missing, although the run has trained.*cp {best} {last}"):
        resume_run(run_dir, 6)
    assert (run_dir / "metrics.csv").read_text() == metrics
    shutil.copy(best, last)
    assert resume_run(run_dir, 6)[1]["progress"]["step"] == 6


def test_last_is_kept_from_the_first_evaluation_on_and_every_n_seconds(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("a kill")

    monkeypatch.setattr(Evaluation, "on_train_end", fails)
    for seconds, step in (("null", 0), ("1e-6", 3)):
        options = (f"checkpoint.every_n_seconds={seconds}", "trainer.max_steps=3")
        with pytest.raises(RuntimeError):
            train_run(tmp_path / seconds, "model=ae", "networks=mlp", *options)
        from lightning_gen.runs.run import Run

        assert Run.load(tmp_path / seconds).read_checkpoint()["global_step"] == step
