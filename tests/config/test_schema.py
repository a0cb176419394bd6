"""Every key has a type and a range, told in words; every option of every group keeps to them."""

from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Le
from omegaconf import OmegaConf

from lightning_gen.config.compose import compose
from lightning_gen.config.schema import check
from lightning_gen.config.tree import config_dir, options_of_groups
from lightning_gen.config.types import fits, in_words
from lightning_gen.errors import UserError

REFUSED = {
    "dataset.flip=no": "dataset.flip=no must be true or false",
    "conditional=off": "conditional=off must be true or false",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val=-1 must be a number, above 0, or null",
    "trainer.gradient_clip_val=0": "trainer.gradient_clip_val=0 must be",
    "trainer.max_steps=-0.5": "trainer.max_steps=-0.5 must be a whole number, 0 or more",
    "model.latent_dim=8.0": "model.latent_dim=8.0 must be a whole number",
    "model.latent_dim=1e400": "model.latent_dim=inf must be a whole number",
    "model.latent_dim=[1,2]": "model.latent_dim=[1, 2] must be a whole number",
    "model.latent_dim={a:1}": "model.latent_dim={a: 1} must be a whole number",
    "model.generator_optimizer.lr=-1": "lr=-1 must be a number, 0 or more",
    "model.generator_optimizer.lr=1e400": "lr=inf must be a number, 0 or more",
    "model.generator_optimizer.betas=[0.5]": "must be a list of 2 numbers, each 0 or more and below 1",
    "model.generator_optimizer.betas=[0.5,1.5]": "must be a list of 2 numbers",
    "seed=true": "seed=true must be a whole number, 0 or more",
    "networks.encoder.width=true": "networks.encoder.width=true must be a whole number",
    "+networks.encoder.kernl=3": "no config key 'networks.encoder.kernl'. Did you mean 'kernel'?",
    "+model.foo=1": "no config key 'model.foo'",
    "+dataset.foo=1": "no config key 'dataset.foo'",
    "+trainer.max_epochs=3": "trainer.max_epochs is set by lightning_gen: use trainer.max_steps",
    "+trainer.inference_mod=3": "not an argument of Lightning's Trainer. Did you mean 'inference_mode'?",
    "trainer.devices=two": "trainer.devices=two must be auto, a whole number or a list of whole numbers",
    "evaluation.nll.method=foo": "evaluation.nll.method=foo must be importance, ais or bidirectional",
    "evaluation.nll=3": "evaluation.nll=3 is a group of keys",
    "evaluation.metrics=fid": "evaluation.metrics=fid must be a list of texts",
    "dataset.fraction=10": "dataset.fraction=10 must be a number, above 0 and at most 1, or null",
    "dataset.limit=0": "dataset.limit=0 must be a whole number, 1 or more, or null",
    "dataset.size=0": "dataset.size=0 must be",
    "dataset.binarize=yes": "dataset.binarize=yes must be none, static or dynamic",
    "dataset.on_bad_image=ignore": "must be refuse or skip",
    "ema=5": "is the name of one of its files",
}


@pytest.mark.parametrize("override", REFUSED)
def test_wrong_values_are_refused_by_name(override):
    with pytest.raises(UserError) as told:
        check(compose([override]))
    assert REFUSED[override] in str(told.value)


def test_what_is_allowed_besides_the_defaults():
    check(compose(["+trainer.inference_mode=false", "trainer.devices=[0,1]", "model.generator_optimizer.lr=1"]))


@pytest.mark.parametrize("group", options_of_groups())
def test_every_option_of_every_group_keeps_to_its_types(group):
    for option in options_of_groups()[group]:
        config = compose([*needed_by(group), f"{group}={option}"])
        check(config)


def needed_by(group: str) -> list[str]:
    """The model that has this group, where it is a part of one."""
    if not group.startswith("model/"):
        return []
    for model in options_of_groups()["model"]:
        file = config_dir() / "model" / f"{model}.yaml"
        if f"- {group.removeprefix('model/')}:" in file.read_text():
            return [f"model={model}"]
    raise AssertionError(f"no model has {group}")


@pytest.mark.parametrize(
    ("value", "kind", "good"),
    [
        (True, int, False),
        ("1", int, False),
        (1, float, True),
        (float("nan"), float, False),
        (None, int | None, True),
        ([1, 2], tuple[int, int], True),
        ([1, 2, 3], tuple[int, int], False),
        ("b", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        (0, Annotated[int, Ge(1)], False),
        (0.5, float | torch.Tensor, True),
        ("x", float | torch.Tensor, False),
        ("x", torch.Tensor, True),  # not a plain value: somebody else's to check
    ],
)
def test_types(value, kind, good):
    assert fits(value, kind) == good


def test_types_in_words():
    assert in_words(Annotated[float, Gt(0), Le(1)] | None) == "a number, above 0 and at most 1, or null"
    assert in_words(Literal["a", "b"] | None) == "a, b or null"
    assert in_words(list[str | int] | None) == "a list of texts or whole numbers or null"
    assert in_words(float | torch.Tensor) == "a number"


def test_a_type_of_the_users_own_class_is_checked_without_a_further_line():
    config = compose(["model=ae"])
    OmegaConf.set_struct(config, False)
    config.callbacks = {"mine": {"_target_": "tests.config.test_schema.Mine", "every": 0}}
    with pytest.raises(UserError, match=r"callbacks\.mine\.every=0 must be a whole number, 1 or more"):
        check(config)


class Mine:
    def __init__(self, every: Annotated[int, Ge(1)] = 1) -> None: ...
