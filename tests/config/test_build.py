"""Every model with all networks and kinds of data, in pairs: it trains, or one line says what goes together."""

import re
from functools import lru_cache

import hydra
import pytest
import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import initialized
from lightning_gen.config.explain import explain
from lightning_gen.config.tree import options_of_groups
from lightning_gen.config.validate import validate
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from tests.choices import fit, models

KINDS = {  # of data, by the shape of an image
    "gray 8x8": (1, 8, 8),
    "gray 28x28": (1, 28, 28),
    "colour 32x32": (3, 32, 32),
    "points": (1, 1, 2),
}
NETWORKS = options_of_groups()["networks"]
SMALL = {
    "networks.encoder.width": 4,
    "networks.decoder.width": 4,
    "networks.encoder.max_width": 8,
    "networks.decoder.max_width": 8,
    "networks.encoder.hidden": 4,
    "networks.encoder.plain_blocks": 1,
    "networks.encoder.channel_base": 64,
    "networks.encoder.channel_max": 4,
    "networks.encoder.mapping_layers": 1,
    "networks.decoder.style_dim": 4,
    "networks.encoder.group_width": 4,
    "networks.encoder.blocks": 1,
    "networks.decoder.dense": [2],
    "model.prior.width": 8,
    "model.prior.depth": 1,
    "model.latent_dims": [4, 3],
    "model.widths": [8],
    "model.fit": "gradient",  # em needs a data set
}
WIDTHS = {"mlp": [8], "r3gan": 8, "r3gan_small": 8, "text_gan": [8]}  # of networks.encoder
GROUPS = [group for group in options_of_groups() if re.fullmatch(r"model/\w+", group)]


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    """Initialized once: that takes longer than to compose a config."""
    with initialized():
        yield


@lru_cache
def composed(*overrides: str) -> DictConfig:
    return hydra.compose("train", overrides=list(overrides))


@lru_cache
def config_of(model: str, networks: str) -> DictConfig:
    """The small config of a model with these networks, as in a run directory."""
    classes = ["num_classes=3"] if model == "classifier" else []
    config = composed(f"model={model}", *classes).copy()
    config.networks = composed(f"networks={networks}").networks
    if networks in WIDTHS:
        config.networks.encoder.widths = WIDTHS[networks]
    for key, value in SMALL.items():
        if OmegaConf.select(config, key) is not None:
            OmegaConf.update(config, key, value)
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return OmegaConf.create(OmegaConf.to_container(config, resolve=True))


OWN_NETWORKS = {"vqvae": "vq", "vqgan": "vq", "ladder_vae": "ladder"}  # models that need these networks


def outcome(model: str, networks: str, kind: str) -> str:
    """`trains`, or why the three do not go together."""
    shape = KINDS[kind]
    try:
        built = build_model(config_of(model, networks), shape)
    except UserError as error:
        return str(error)
    fit(built, Batch(torch.rand(4, *shape), torch.arange(4) % 3))
    return "trains"


def goes(model: str, networks: str, kind: str) -> bool:
    if model == "gmm":  # has no networks
        return True
    if kind == "points":
        return model not in OWN_NETWORKS and networks in ("mlp", "single_layer")
    return networks == OWN_NETWORKS.get(model, networks)


def kinds(model: str, networks: str) -> tuple[str, str]:
    """The points, and one of the kinds of images.

    The next pair of a model and networks gets another kind, so that each model and each of the networks meets all.
    """
    *images, points = KINDS
    if networks.startswith("text_"):  # for 32x32 and more
        return points, "colour 32x32"
    return points, images[(models().index(model) + NETWORKS.index(networks)) % len(images)]


@pytest.mark.parametrize("model", models())
def test_models_networks_and_data_train_or_one_line_says_what_goes_together(tmp_path, model):
    validate(Run.create(tmp_path, composed(f"model={model}")).config)
    said = {
        (networks, kind): outcome(model, networks, kind) for networks in NETWORKS for kind in kinds(model, networks)
    }
    for (networks, kind), words in said.items():
        assert (words == "trains") == goes(model, networks, kind), (networks, kind, words)
        if words != "trains":
            assert "\n" not in words
            advised = dict(re.findall(r"(model|networks)=(\w+)", words.rpartition(": ")[2]))
            assert advised, words
            advice = advised.get("model", model), advised.get("networks", networks)
            assert goes(*advice, kind), words  # the advice helps


def test_a_part_that_the_model_does_not_have_is_refused_with_the_models_that_have_it():
    """Each part by two models, so that each model refuses some."""
    asked = set()
    for turn, group in enumerate(GROUPS):
        having = [one for one in models() if group.rpartition("/")[2] in composed(f"model={one}").model]
        without = [one for one in models() if one not in having]
        for model in {without[turn % len(without)], without[-turn % len(without)]} if without else ():
            asked.add(group)
            with pytest.raises(HydraException) as error:
                hydra.compose("train", overrides=[f"model={model}", f"{group}={options_of_groups()[group][0]}"])
            said = re.fullmatch(
                rf"{group} is not a part of this model, but of model=([\w, ]+)\.", explain(error.value)
            )
            assert set(said.group(1).split(", ")) <= set(having)
    assert len(asked) > 10
