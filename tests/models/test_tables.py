"""Rows of a table in the models that take them, and what is refused."""

import pytest
import torch
from omegaconf import OmegaConf

from lightning_gen.config.build import build_model, model_class
from lightning_gen.config.tree import config_dir
from lightning_gen.data.loader import Batch
from lightning_gen.data.tables import Column, TableSchema
from lightning_gen.errors import UserError
from lightning_gen.randomness import StepNoise
from tests.choices import models
from tests.helpers import composed

TABLE = TableSchema(
    (
        Column("age", "numeric", (), 40.0, 10.0, integer=True),
        Column("city", "categorical", ("Bonn", "Rome", "Ulm")),
        Column("size", "numeric", (), 1.5, 0.5),
    ),
    "city",
)
SHAPE = (1, 1, TABLE.width)
SMALL = ("networks=mlp", "networks.encoder.widths=[32]", "model.latent_dim=2")


def made(*overrides):
    torch.manual_seed(0)
    return build_model(composed(*overrides), SHAPE, TABLE).eval()


@pytest.mark.parametrize("model", ["ae", "factor_vae", "gan", "gmm", "vae"])
def test_samples_are_rows(model):
    options = ["model.pca_dims=null"] if model == "gmm" else SMALL
    likelihood = ["model/likelihood=table"] if "vae" in model else []
    rows = made(f"model={model}", *options, *likelihood).sample(50, torch.Generator().manual_seed(0))
    assert rows.shape == (50, *SHAPE)
    cities = rows[:, 0, 0, 1:4]
    if model != "gmm":  # of a mixture, which knows no categories, the largest number decides
        assert torch.allclose(cities.sum(1), torch.ones(50))
    if model in ("factor_vae", "gan", "vae"):
        assert set(cities.flatten().tolist()) == {0.0, 1.0}
    assert rows.min() < 0  # standardized numbers are not clamped to the range of pixels
    assert set(TABLE.decode(rows.flatten(1))["city"]) <= {"Bonn", "Rome", "Ulm"}


def test_a_vae_learns_shares_of_categories_and_what_depends_on_them():
    generator = torch.Generator().manual_seed(0)
    city = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), 1024, replacement=True, generator=generator)
    age = torch.tensor([-0.7, 0.6, 2.4])[city] + 0.2 * torch.randn(1024, generator=generator)
    size = torch.randn(1024, generator=generator)
    rows = torch.cat([age[:, None], torch.eye(3)[city], size[:, None]], dim=1).view(-1, *SHAPE)
    model = made("model=vae", "model/likelihood=table", *SMALL).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    noise = StepNoise(0)
    for step in range(400):
        noise.start(step)
        batch = Batch(rows[torch.randint(1024, (128,), generator=generator)], None)
        loss = model.loss(model.terms(batch, noise)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    samples = model.eval().sample(4000, torch.Generator().manual_seed(1))[:, 0, 0]
    shares = samples[:, 1:4].mean(0)
    assert torch.allclose(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.08)
    for index, centre in enumerate([-0.7, 0.6, 2.4]):
        ages = samples[samples[:, 1 + index] == 1, 0]
        assert ages.mean().item() == pytest.approx(centre, abs=0.5)
    assert samples[:, 4].std().item() == pytest.approx(1, abs=0.15)


def test_other_models_are_for_images():
    configs = {name: OmegaConf.load(config_dir() / "model" / f"{name}.yaml") for name in models()}
    classes = {name: model_class(OmegaConf.create({"model": config})) for name, config in configs.items()}
    assert {name for name, made in classes.items() if made.takes_tables} == {"ae", "factor_vae", "gan", "gmm", "vae"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=infogan"], "InfoGAN is for images, and these are rows of a table: use model=vae, ae, gan or gmm"),
        (["model=vae", "networks=conv"], "networks=conv is for images, and these are vectors: use networks=mlp"),
        (["model=vae", "model/likelihood=gaussian"], "Gaussian is for images.*model/likelihood=table"),
        (["model=vae", "model/likelihood=table", "model/prior=vamp"], "model/prior=vamp has images"),
        (["model=ae", "model/reconstruction=cross_entropy"], "a table has its own error"),
        (["model=ae", "model.max_shift=1"], "model.max_shift are for images"),
        (["model=gan", "model/augment=diffaugment"], "model/augment and .* change images"),
        (["model=gan", "model/penalty=consistency"], "model/penalty=consistency change images"),
        (["model=vae", "model/likelihood=table", "num_classes=3"], "conditional=true is for images"),
    ],
)
def test_what_is_for_images_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        made(*(["networks=mlp"] if "networks=conv" not in overrides else []), *overrides)
