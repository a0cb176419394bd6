"""A number of the config is a schedule where it may be one, and told where it may not."""

import pytest

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.config.validate import validate
from lightning_gen.errors import UserError
from lightning_gen.objectives.schedules import Schedule

RISING = "{values:[0,1],images:[0,100]}"


def built(*overrides):
    config = compose(["networks=mlp", *overrides])
    validate(config)
    return build_model(config, (1, 8, 8))


def test_a_model_is_built_with_the_first_values_and_follows():
    model = built("model=vae", "model/objective=free_bits", "model.objective.nats={values:[0.5,0.1],images:[0,100]}")
    assert model.objective.nats == 0.5
    model.images_seen = 50
    model.follow_schedules()
    assert model.objective.nats == pytest.approx(0.3)


def test_numbers_of_optimizers_wait_until_there_is_one():
    model = built("model=ae", f"model.optimizer.lr={RISING}")
    optimizer = model.configure_optimizers()
    assert (optimizer.defaults["lr"], optimizer.scheduled) == (0, {"lr": Schedule([0, 1], [0, 100])})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [f"trainer.log_every_n_steps={RISING}"],
            "trainer.log_every_n_steps cannot be a schedule: only numbers of model",
        ),
        ([f"networks.encoder.dropout={RISING}"], "cannot be a schedule"),
        ([f"model.latent_dim={RISING}"], "model.latent_dim=0.0 after 0 images must be a whole number, 1 or more"),
        (["model/penalty=r1", "model.penalty.r1.weight={values:[1,-1],images:[0,5]}"], "=-1 after 5 images must be"),
        (
            ["model.generator_optimizer.betas=[0,{values:[1],images:[0]}]"],
            r"betas=\[0, 1\] after 0 images must be a list",
        ),
        (["model/penalty=r1", "model.penalty.r1.weight={values:[1,2],images:[0]}"], "a value for each point"),
        (["model/penalty=r1", "model.penalty.r1.weight={values:[1],images:[0],shap:linear}"], "Did you mean .*shape"),
        (["model/augment=ada", f"model.augment.p={RISING}"], "model.augment.target adapts it"),
        (
            ["model=vae", "model/objective=info_vae", f"model.objective.alpha={RISING}"],
            "uses it only when it is built",
        ),
    ],
)
def test_what_cannot_be_a_schedule_is_told(overrides, message):
    with pytest.raises(UserError, match=message):
        built(*overrides)
