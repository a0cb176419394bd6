"""The pictures of every family can be drawn: of images, of classes, of points in the plane and of rows of a table.

Trainings in tests draw single pixels, see tests/drawing.py.
"""

import pytest
import torch

from lightning_gen.config.build import build_data, build_model
from lightning_gen.evaluation.build import build_evaluator
from tests.helpers import composed

SMALL = ("dataset.limit=60", "evaluation.held_out=20", "evaluation/extractor=random", "trainer.max_steps=10")
DIGITS = ("dataset=digits", "networks=mlp", *SMALL)
POINTS = ("dataset=gaussians", "networks=mlp", "evaluation.held_out=20", "trainer.max_steps=10")
TABLE = (
    "dataset=table",
    "dataset.path=sklearn:wine",
    "networks=mlp",
    "evaluation.held_out=20",
    "trainer.max_steps=10",
)
FAMILIES = {
    **{
        name: (f"model={name}", *DIGITS)
        for name in (
            "ae",
            "vae",
            "gan",
            "infogan",
            "bigan",
            "wae",
            "factor_vae",
            "vae_gan",
            "hierarchical_vae",
            "gmm",
        )
    },
    "ladder_vae": ("model=ladder_vae", "networks=ladder", "dataset=digits", "dataset.size=16", *SMALL),
    "vqvae": ("model=vqvae", "networks=vq", "dataset=digits", "dataset.size=16", *SMALL),
    "vqgan": ("model=vqgan", "networks=vq", "dataset=digits", "dataset.size=16", *SMALL),
    "conditional gan": ("model=gan", "conditional=true", *DIGITS),
    "conditional vae": ("model=vae", "conditional=true", *DIGITS),
    **{f"{name} on points": (f"model={name}", *POINTS) for name in ("gan", "ae", "wae", "gmm")},
    "vae on points": ("model=vae", "model/likelihood=gaussian", *POINTS),
    "ae on a table": ("model=ae", *TABLE),
    "vae on a table": ("model=vae", "model/likelihood=table", *TABLE),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_all_pictures_can_be_drawn(name):
    config = composed(*FAMILIES[name], "hardware=cpu")
    data = build_data(config)
    model = build_model(config, data.image_shape, data.table)
    model.see_data(data, fresh=True)
    model.eval()
    with torch.no_grad():
        model.fit_density(lambda: data.train_batches(torch.device("cpu"), limit=60))
    evaluator = build_evaluator(config, data, torch.device("cpu"))
    pictures = evaluator.draw(model)
    assert pictures
    for made in pictures.values():
        drawn = made.draw("a heading")
        assert min(drawn.size) > 100
        assert len(drawn.convert("RGB").resize((60, 60)).getcolors(3600)) > 2  # not a blank page
