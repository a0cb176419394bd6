"""Numbers at known images, and learning rates at known steps."""

import functools

import pytest
from omegaconf import OmegaConf

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.objectives import schedules
from lightning_gen.objectives.schedules import Schedule, parsed
from tests.helpers import assert_same, make_run, resume_run, train_run


def test_values_of_each_shape():
    linear = Schedule([1.0, 3.0, 2.0], [10, 20, 40])
    assert [linear(n) for n in (0, 10, 15, 20, 30, 40, 99)] == [1, 1, 2, 3, 2.5, 2, 2]
    cosine = Schedule([4.0, 0.0], [0, 100], "cosine")
    assert [cosine(n) for n in (0, 25, 50, 75, 100)] == pytest.approx([4, 2 + 2**0.5, 2, 2 - 2**0.5, 0])
    assert [Schedule([1.0, 0.01], [0, 100], "geometric")(n) for n in (0, 50, 100)] == pytest.approx([1, 0.1, 0.01])
    assert [Schedule([1.0, 0.5, 0.1], [0, 10, 20], "step")(n) for n in (9, 10, 19, 20)] == [1, 0.5, 0.5, 0.1]
    assert [Schedule([7.0], [0])(n) for n in (0, 5)] == [7, 7]


def test_a_cyclic_schedule_starts_again():
    """Fu et al. 2019, eq. 6, with R = 0.5: it rises in the first half of a cycle and stays at 1 in the second."""
    cyclic = Schedule([0.0, 1.0, 1.0], [0, 5, 10], repeat=True)
    assert [cyclic(n) for n in (0, 2, 5, 9, 10, 12, 29)] == pytest.approx([0, 0.4, 1, 1, 0, 0.4, 1])


@pytest.mark.parametrize(
    ("values", "images", "shape", "message"),
    [
        ([1.0], [0, 1], "linear", "a value for each point"),
        ([], [], "linear", "a value for each point"),
        ([1.0, 2.0], [5, 5], "linear", "must increase"),
        ([0.0, 1.0], [0, 5], "geometric", "above 0"),
    ],
)
def test_schedules_that_mean_nothing(values, images, shape, message):
    with pytest.raises(UserError, match=message):
        Schedule(values, images, shape)


# Of the authors' `cosine_decay_with_warmup` (brownvc/R3GAN, training/training_loop.py) for preset CIFAR10, after these images.
R3GAN_IMAGES = (0, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000)
R3GAN = {
    "ema": (0, 122358.709, 732233.047, 2500000, 5000000, 5000000),
    "p": (0, 0.013459458, 0.0805456352, 0.275, 0.55, 0.55),
    "lr": (0.0002, 0.000196329239, 0.000178033009, 0.000125, 5e-05, 5e-05),
    "gamma": (0.05, 0.0488987716, 0.0434099026, 0.0275, 0.005, 0.005),
    "beta2": (0.9, 0.902202457, 0.913180195, 0.945, 0.99, 0.99),
}


def test_r3gans_schedules_are_the_authors():
    """Those of experiment=r3gan_cifar10: of the average, augmentation, learning rate, penalties and Adam."""
    config = OmegaConf.to_container(compose(["experiment=r3gan_cifar10"]), resolve=True)
    model = config["model"]
    found = {"ema": config["ema"]["half_life"], "p": model["augment"]["p"]}
    for player in ("generator", "discriminator"):
        optimizer = model[f"{player}_optimizer"]
        assert optimizer["betas"][0] == 0
        found |= {"lr": optimizer["lr"], "beta2": optimizer["betas"][1]}
        found["gamma"] = model["penalty"]["r1" if player == "generator" else "r2"]["weight"]
        for name, node in found.items():
            values = [parsed(node)(seen) for seen in R3GAN_IMAGES]
            assert values == pytest.approx(R3GAN[name], rel=1e-8), name


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
    assert schedules.geometric(5, 10, stages=1) == 1.0
    assert schedules.geometric(3000, 9_840_000) == pytest.approx(10 ** (-1 / 7))


def rates(run):
    return [s["param_groups"][0]["lr"] for s in run.read_checkpoint()["optimizer_states"]]


@pytest.mark.parametrize("model", ["ae", "gan"])
def test_every_optimizer_follows_the_schedule(tmp_path, model):
    options = (f"model={model}", "networks=mlp", "schedule=linear")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=6")
    assert rates(straight) == pytest.approx([2e-3 / 6] * (1 if model == "ae" else 2))  # the sixth step, 5 of 6 done


def test_a_stopped_run_goes_on_with_the_rate_of_its_step(tmp_path):
    options = ("model=ae", "networks=mlp", "schedule=step", "schedule.milestones=[4]")
    straight, _ = train_run(tmp_path / "straight", *options, "trainer.max_steps=6")
    train_run(tmp_path / "resumed", *options, "trainer.max_steps=3")
    resumed, _ = resume_run(tmp_path / "resumed", 6)
    for part in ("state_dict", "optimizer_states"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])
    assert rates(resumed) == pytest.approx([2e-4])


def test_a_step_calls_the_schedule_and_not_hydra(tmp_path):
    config = make_run(tmp_path, "model=ae", "schedule=cosine").config
    schedule = build_model(config, (1, 8, 8)).schedule
    assert type(schedule) is functools.partial
    assert (schedule.func, schedule(50, 100)) == (schedules.cosine, pytest.approx(0.5))
