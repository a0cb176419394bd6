"""Learning rates at known steps."""

import functools

import pytest

from lightning_gen.config.build import build_model
from lightning_gen.objectives import schedules
from tests.helpers import assert_same, make_run, resume_run, train_run


def test_known_values():
    assert [schedules.cosine(s, 100) for s in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])
    assert schedules.cosine(100, 100, final=0.1) == pytest.approx(0.1)
    assert [schedules.linear(s, 100, start=0.5) for s in (0, 50, 75, 100)] == pytest.approx([1, 1, 0.5, 0])
    assert [schedules.step(s, 100) for s in (49, 50, 75)] == pytest.approx([1, 0.1, 0.01])
    assert [schedules.step(s, 100, milestones=[20], gamma=0.5) for s in (19, 20)] == [1, 0.5]
    assert [schedules.constant(s, 100, warmup_steps=3) for s in (0, 1, 3, 50)] == [0.25, 0.5, 1, 1]
    assert schedules.cosine(7, 0) == 0  # no steps: nothing to divide by


def test_the_schedule_of_burda_et_al():
    """3^i epochs at 10^(-i/7): with 3,280 steps a step is an epoch."""
    rates = [schedules.geometric(step, 3280) for step in range(3280)]
    for i in range(8):
        assert sum(rate == pytest.approx(10 ** (-i / 7)) for rate in rates) == 3**i
    assert rates == sorted(rates, reverse=True)
    assert schedules.geometric(2999, 9_840_000) == 1.0
    assert schedules.geometric(3000, 9_840_000) == pytest.approx(10 ** (-1 / 7))


def rates(run):
    return [s["param_groups"][0]["lr"] for s in run.read_checkpoint()["optimizer_states"]]


@pytest.mark.parametrize("model", ["ae", "gan"])
def test_every_optimizer_follows_the_schedule(tmp_path, model):
    options = (f"model={model}", "networks=mlp", "schedule=linear")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=6")
    lr = {"ae": 1e-3, "gan": 2e-4}[model]
    assert rates(straight) == pytest.approx([lr / 6] * (1 if model == "ae" else 2))  # the sixth step, 5 of 6 done


def test_a_stopped_run_goes_on_with_the_rate_of_its_step(tmp_path):
    options = ("model=ae", "networks=mlp", "schedule=step", "schedule.milestones=[4]")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=6")
    train_run(tmp_path / "resumed", *options, "trainer.max_steps=3")
    resumed, _ = resume_run(tmp_path / "resumed", 6)
    for part in ("state_dict", "optimizer_states"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert rates(resumed) == pytest.approx([1e-4])


def test_a_step_calls_the_schedule_and_not_hydra(tmp_path):
    config = make_run(tmp_path, "model=ae", "schedule=cosine").config
    schedule = build_model(config, (1, 8, 8)).schedule
    assert type(schedule) is functools.partial
    assert (schedule.func, schedule(50, 100)) == (schedules.cosine, pytest.approx(0.5))
