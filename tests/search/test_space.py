"""Hydra's syntax for several values becomes the same set of values for Optuna."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lightning_gen.errors import UserError
from lightning_gen.search.space import as_overrides, read_space, values_of_run
from tests.helpers import make_run


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("interval(1e-5,1e-2)", FloatDistribution(1e-5, 1e-2)),
        ("tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("int(interval(2,9))", IntDistribution(2, 9)),
        ("tag(log,int(interval(2,64)))", IntDistribution(2, 64, log=True)),
        ("range(1,10,3)", IntDistribution(1, 7, step=3)),  # Hydra's range is without its end
        ("range(0.0,1.0,0.5)", CategoricalDistribution(["0.0", "0.5"])),
        ("choice(hinge,wasserstein)", CategoricalDistribution(["hinge", "wasserstein"])),
        ("1,2,8", CategoricalDistribution(["1", "2", "8"])),
        ("[0.0,0.9],[0.5,0.999]", CategoricalDistribution(["[0.0,0.9]", "[0.5,0.999]"])),
    ],
)
def test_distribution(value, expected):
    space, fixed = read_space({"model.x": value}, ["seed=1"])
    assert space == {"model.x": expected}
    assert fixed == ["seed=1"]


def test_command_line_replaces_the_file():
    params = {"model.beta": "interval(0.0,1.0)", "model.latent_dim": "2,4"}
    space, fixed = read_space(params, ["model.beta=1.0", "model/loss=hinge,wasserstein"])
    assert list(space) == ["model.latent_dim", "model/loss"]
    assert fixed == ["model.beta=1.0"]
    assert as_overrides({"model.latent_dim": "2", "model/loss": "hinge"}) == [
        "model.latent_dim=2",
        "model/loss=hinge",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": "interval(1,1)"}, "start below its end"),
        ({"a": "tag(log,interval(0,1))"}, "above 0"),
        ({"a": "choice(3)"}, "at least two different values"),
        ({"a": "3"}, "has no space"),
    ],
)
def test_refused(values, message):
    with pytest.raises(UserError, match=message):
        read_space(values, [])


def test_values_of_an_earlier_run(tmp_path):
    run = make_run(tmp_path, "model=vae", "model.latent_dim=16")
    run.overrides = ["model=vae", "model.latent_dim=16"]
    run.save()
    space, _ = read_space(
        {
            "model.latent_dim": "8,16",
            "model.optimizer.lr": "interval(1e-5,1.0)",
            "trainer.max_steps": "interval(1,2)",  # its value lies outside
            "model": "ae,vae",
        },
        [],
    )
    found = values_of_run(tmp_path, space)
    assert found == {"model.latent_dim": "16", "model.optimizer.lr": run.config.model.optimizer.lr, "model": "vae"}
