"""The recipes are the published ones: parameters, batches, learning rates, what is normalized."""

import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.networks.spectral import NORMALIZED
from tests.helpers import make_run


def recipe(name, *overrides):
    config = compose([f"experiment={name}", *overrides])
    with torch.device("meta"):
        return config, build_model(config, (3, 32, 32))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("sngan_cifar10", (4_276_739, 1_053_825)),
        ("wgan_gp_cifar10", (4_276_739, 1_053_825)),
    ],
)
def test_the_residual_recipes_have_the_published_parameters(name, counts):
    config, model = recipe(name)
    assert (count(model.generator), count(model.discriminator)) == counts
    assert (config.model.d_steps, config.dataset.batch_size, config.model.generator_batch_size) == (5, 64, 128)
    assert list(config.model.discriminator_optimizer.betas) == [0.0, 0.9]
    normalized = [is_parametrized(m) for m in model.discriminator.modules() if isinstance(m, NORMALIZED)]
    assert all(normalized) == any(normalized) == (name == "sngan_cifar10")  # the head too, or nothing
    assert set(model.penalty) == (set() if name == "sngan_cifar10" else {"gradient_penalty"})


@pytest.mark.parametrize("name", ["sngan_cnn_cifar10", "dcgan_cifar10"])
def test_the_plain_recipes_take_one_step_a_player(name):
    config, model = recipe(name)
    assert (config.model.d_steps, config.dataset.batch_size, config.model.latent_dim) == (1, 128, 100)
    assert model.generator(torch.zeros(2, 100, device="meta")).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("name", ["gan_mlp", "gan_dcgan", "gan_wgan_gp", "gan_sngan", "gan_r3gan"])
def test_the_rows_of_the_table_see_equal_images(name):
    config, _ = recipe(name, "dataset.size=32")
    assert config.trainer.max_steps * config.model.d_steps * config.dataset.batch_size == 128_000
    assert (config.evaluation.num_samples, config.seed) == (10_000, 0)


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_the_buffers_of_an_average(tmp_path, buffers):
    """Copied, batch norm's statistics are those of the generator; averaged, they lag behind. Weights always lag."""
    from lightning_gen.training.train import train

    run = make_run(tmp_path, "model=gan", f"ema.buffers={buffers}", "trainer.max_steps=5")
    train(run)
    state = run.read_checkpoint()
    average = state["callbacks"]["EMA"]["average"]
    same = {name: torch.equal(value, state["state_dict"][name]) for name, value in average.items()}
    assert not any(same[name] for name in same if name.endswith("weight"))
    assert all(same[name] == (buffers == "copy") for name in same if "running" in name)
