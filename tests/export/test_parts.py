"""What the parts of a model take and give."""

import torch

from lightning_gen.export.parts import parts_of, why_no_sampler
from tests.export.families import family


def inputs(name):
    return {part: [port.name for port in made.inputs] for part, made in parts_of(family(name)).items()}


def test_noise_in_images_out():
    assert inputs("vae") == {"decoder": ["codes"], "encoder": ["images"], "sampler": ["normal"]}
    assert inputs("ae")["sampler"] == ["normal", "uniform"]  # of the Gaussians that are fitted to its codes
    assert inputs("infogan")["sampler"] == ["uniform", "uniform2", "normal"]
    assert inputs("gan") == {"decoder": ["codes", "labels"], "sampler": ["uniform", "labels"]}
    assert inputs("vae_gan")["encoder"] == ["images"]  # only its decoder gets the class
    assert inputs("ladder_vae")["encoder"] == ["images", "labels"]
    assert "sampler" not in inputs("vqvae")
    assert "one after the other" in why_no_sampler(family("vqvae"))


def test_the_sampler_draws_what_the_model_draws():
    """The same noise gives the images of `model.sample`."""
    for name in ("vae_mixture", "gan", "infogan"):
        model = family(name)
        sampler, generator = parts_of(model)["sampler"], torch.Generator().manual_seed(3)
        labels = torch.tensor([0, 1, 2, 1]) if model.num_classes else None
        drawn = {
            "normal": lambda shape, generator=generator: torch.randn(shape, generator=generator),
            "uniform": lambda shape, generator=generator: torch.rand(shape, generator=generator),
        }
        noise = [drawn[port.name.rstrip("2")]((4, *port.shape)) for port in sampler.inputs if port.name != "labels"]
        made = sampler(*noise, *([] if labels is None else [labels]))
        assert torch.equal(made, model.sample(4, torch.Generator().manual_seed(3), labels)), name
