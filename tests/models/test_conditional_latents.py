"""conditional=true of models with codes: the label decides the class of what is decoded."""

import pytest
import torch

from lightning_gen.config.build import build_data
from lightning_gen.errors import UserError
from lightning_gen.runs.loading import load_model
from tests.helpers import train_run

MODELS = {
    "ae": ("model=ae",),
    "rae_gp": ("model=ae", "model/regularizer=rae_gp"),
    "wae": ("model=wae",),
    "wae_gan": ("model=wae", "model/divergence=gan", "model.divergence.weight=2", "model.divergence.widths=[64]"),
    "vae_gan": ("model=vae_gan", "model.feature_weight=1", "trainer.max_steps=250"),
    "hierarchical_vae": ("model=hierarchical_vae", "model.latent_dims=[4,2]"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_label_decides_the_class(tmp_path, name):
    """Samples are nearest to the mean image of their own class, more often than not; by chance one in ten."""
    options = ("trainer.max_steps=150", "model.optimizer.lr=3e-3", *MODELS[name], "conditional=true", "networks=mlp")
    options += ("networks.encoder.widths=[64]", "evaluation.held_out=20")
    small = () if name == "hierarchical_vae" else ("model.latent_dim=2",)
    run, summary = train_run(tmp_path / "run", *options, *small, "dataset.batch_size=100", "ema.half_life=null")
    assert summary["status"] == "completed"
    model, data = load_model(run, "last"), build_data(run.config)
    assert model.num_classes == 10
    images = data.train.images / 255
    means = torch.stack([images[data.train.labels == label].mean(dim=0) for label in range(10)])
    labels = torch.arange(10).repeat_interleave(20)
    drawn = model.sample(200, torch.Generator().manual_seed(0), labels)
    nearest = torch.cdist(drawn.flatten(1), means.flatten(1)).argmin(dim=1)
    assert float((nearest == labels).float().mean()) > 0.5
    latents = model.sample_latents(5, torch.Generator().manual_seed(0))
    assert latents.shape == (5, model.latent_dim + 10)


def test_what_cannot_be_conditioned_is_told(tmp_path):
    common = ("model=ae", "networks=mlp", "conditional=true")
    with pytest.raises(UserError, match=r"model\.pretrain\.steps_per_layer"):
        train_run(tmp_path / "a", *common, "model.pretrain.steps_per_layer=3")
    with pytest.raises(UserError, match=r"conditional=false"):
        train_run(tmp_path / "b", *common, "networks.decoder.tied=true")
    with pytest.raises(UserError, match="needs labels"):
        train_run(tmp_path / "c", *common, "dataset.labels=false")
