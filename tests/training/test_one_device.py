"""Several steps in one call of Lightning's loop give what one step in a call gives."""

import shutil

import pytest

from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.one_device import OneDevice
from lightning_gen.training.train import prepare, train
from tests.helpers import assert_same, logged, make_run, quick, train_run

OFTEN = (
    "trainer.log_every_n_steps=3",
    "checkpoint.every_n_steps=4",
    "evaluation.every_n_steps=5",
    "trainer.max_steps=11",
    "evaluation.held_out=40",
)
SAME = ("state_dict", "optimizer_states", "global_step", "images_seen", "random_state")
MODELS = {
    "ae": ("model=ae", "networks=mlp", "schedule=cosine", "ema=average"),
    "vae": ("model=vae", "networks=mlp"),
    "gan": ("model.d_steps=2", "networks=mlp", "trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=2"),
    "wae": ("model=wae", "networks=mlp"),
    "vqvae": ("model=vqvae", "networks.encoder.width=8", "model.prior.width=16", "model.prior.depth=1"),
}
BOTH = ("vae", "gan")
SMALL = ("networks.encoder.width=8", "networks.decoder.width=8", "evaluation.held_out=40")


def test_what_acts_on_every_step_acts_once_on_each(tmp_path, monkeypatch):
    seen = []
    average = EMA.on_step_end
    monkeypatch.setattr(
        EMA, "on_step_end", lambda ema, *args: (seen.append(args[1].images_seen), average(ema, *args))
    )
    train_run(tmp_path, "model=ae", "networks=mlp", "ema=average", "dataset.batch_size=16", *OFTEN)
    assert seen == [16 * step for step in range(1, 12)]


def assert_same_runs(one, other):
    first, second = one.read_checkpoint(), other.read_checkpoint()
    for key in SAME:
        assert_same(first[key], second[key])
    assert_same(first["callbacks"].get("EMA", {}), second["callbacks"].get("EMA", {}))


@pytest.mark.parametrize("name", MODELS)
def test_weights_averages_and_logs_are_the_same(tmp_path, name):
    one, _ = train_run(tmp_path / "one", *MODELS[name], *OFTEN, "trainer.steps_per_call=1")
    many, _ = train_run(tmp_path / "many", *MODELS[name], *OFTEN)
    assert_same_runs(one, many)
    assert logged(one.path) == logged(many.path)
    assert {row["step"] for row in logged(many.path)} == {"0", "3", "5", "6", "9", "10", "11"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs of nine steps by their models."""
    folder = tmp_path_factory.mktemp("whole")
    return {model: train_run(folder / model, f"model={model}", *SMALL, "trainer.max_steps=9")[0] for model in BOTH}


@pytest.mark.parametrize(("before", "after"), [(1, "auto"), ("auto", 1)])
@pytest.mark.parametrize("model", BOTH)
def test_a_run_goes_on_with_another_number_of_steps_in_a_call(tmp_path, whole, model, before, after):
    short = ("trainer.max_steps=5", f"trainer.steps_per_call={before}")
    train_run(tmp_path / "run", f"model={model}", *SMALL, *short)
    run = Run.load(tmp_path / "run")
    run.config.resume, run.config.trainer.max_steps = str(run.path), 9
    run.config.trainer.steps_per_call = after
    train(run)
    assert_same_runs(whole[model], run)


def test_a_call_ends_where_something_is_due(tmp_path, monkeypatch):
    sizes = []
    several = OneDevice.steps_until_due
    monkeypatch.setattr(OneDevice, "steps_until_due", lambda *of: sizes.append(several(*of)) or sizes[-1])
    train_run(tmp_path, "model=ae", "networks=mlp", *OFTEN)
    assert sizes == [3, 1, 1, 1, 2, 1, 1, 1]  # 3, 4, 5, 6, 8, 9, 10, 11


@pytest.mark.parametrize("options", [("trainer.gradient_clip_val=1",), ("trainer.accumulate_grad_batches=2",)])
def test_lightnings_own_clipping_and_accumulation_need_a_call_for_each_step(tmp_path, options):
    parts = prepare(make_run(tmp_path, "model=ae", "networks=mlp", *options))
    assert parts.model.automatic_optimization
    run = Run.create(tmp_path / "other", compose(quick("model=ae", *options, "trainer.steps_per_call=4")))
    with pytest.raises(UserError, match="leave it auto"):
        prepare(run)


@pytest.mark.parametrize("before", [False, True])
def test_a_run_goes_on_with_another_layout_of_its_weights(tmp_path, before):
    options = ("model=vae", "networks=conv", "dataset=digits", *SMALL)
    train_run(tmp_path / "run", *options, "trainer.max_steps=6", f"trainer.channels_last={before}")
    copied = shutil.copytree(tmp_path / "run", tmp_path / "other")
    ended = []
    for path, channels_last in ((tmp_path / "run", before), (copied, not before)):
        run = Run.load(path)
        run.config.resume, run.config.trainer.max_steps = str(run.path), 8
        run.config.trainer.channels_last = channels_last
        train(run)
        ended.append(run.read_checkpoint())
    assert_same(ended[0]["state_dict"], ended[1]["state_dict"], tolerance=2e-5)
    assert_same(ended[0]["optimizer_states"], ended[1]["optimizer_states"], tolerance=1e-2)
