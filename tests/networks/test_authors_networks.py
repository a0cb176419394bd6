"""The published networks give the outputs that their authors' code gives with the same weights.

`tests/records/authors_networks.json` holds what that code gave, once, with its weights and inputs put in by formula
(`tests/networks/authors.py`): brownvc/R3GAN (R3GAN/Networks.py), NVlabs/stylegan2-ada-pytorch (training/networks.py),
ajbrock/BigGAN-PyTorch (BigGAN.py, without spectral normalization) and w86763777/pytorch-gan-collections (source/models).
"""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.models.discriminator import Discriminator
from lightning_gen.networks.biggan import BigGANDecoder, BigGANEncoder
from lightning_gen.networks.r3gan import R3GANDecoder, R3GANEncoder
from lightning_gen.networks.stylegan2 import StyleGAN2Decoder, StyleGAN2Encoder
from tests.networks.authors import fill, latents, pictures, spots

THEIRS = json.loads((Path(__file__).parents[1] / "records" / "authors_networks.json").read_text())
SMALL, LARGE = (3, 16, 16), (3, 32, 32)
LABELS = torch.eye(3)[[0, 1, 2, 0]]
R3GAN = {"widths": [16, 8, 8], "blocks": 1, "group_width": 8}
STYLEGAN2 = {"channel_base": 128, "channel_max": 16}

DISCRIMINATORS = {
    "r3gan": (partial(R3GANEncoder, **R3GAN), SMALL),
    "stylegan2": (partial(StyleGAN2Encoder, **STYLEGAN2), SMALL),
    "biggan": (partial(BigGANEncoder, width=4, attention_after=0), LARGE),
}
GENERATORS = {
    "r3gan": lambda: R3GANDecoder(8, SMALL, 3, **R3GAN, embedding=6),
    "stylegan2": lambda: StyleGAN2Decoder(8, SMALL, 3, **STYLEGAN2, style_dim=16),
    "biggan": lambda: BigGANDecoder(16, LARGE, 3, width=2, embedding=6),
}
RECIPES = ("sngan_cifar10", "wgan_gp_cifar10", "sngan_cnn_cifar10", "dcgan_cifar10")


def check(name, outputs):
    assert spots(outputs) == pytest.approx(THEIRS[name], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", DISCRIMINATORS)
@torch.no_grad()
def test_conditional_discriminators(name):
    encoder, shape = DISCRIMINATORS[name]
    discriminator = fill(Discriminator(encoder, shape, "projection", 3), equalized=name == "stylegan2")
    check(f"{name} discriminator", discriminator(pictures(4, shape[1]), LABELS))


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_conditional_generators(name):
    """The label stands behind the code. The authors' BigGAN ends in the tanh that the model adds here."""
    generator = fill(GENERATORS[name](), equalized=name == "stylegan2")
    count, size = (3, 16) if name == "biggan" else (4, 8)
    inputs = torch.cat([latents(count, size), LABELS[:count]], dim=1)
    images = generator(inputs)
    check(f"{name} generator", images.tanh() if name == "biggan" else images)
    if name == "stylegan2":
        check("stylegan2 generator truncated", generator(inputs, truncation=0.7))


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_recipes_on_cifar10(name):
    """Full size, images in [-1, 1], without spectral normalization; WGAN-GP's generator is SNGAN's."""
    config = compose([f"experiment={name}", "networks.spectral_norm=none"])
    model = build_model(config, LARGE)
    check(f"{name} discriminator", fill(model.discriminator)(pictures(3, 32)))
    if name != "wgan_gp_cifar10":
        fill(model.generator)
        check(f"{name} generator", 2 * model.generate(latents(2, config.model.latent_dim)) - 1)
