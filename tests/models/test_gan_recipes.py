"""The recipes are the published ones: parameters, batches, learning rates, what is normalized."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.networks.spectral import NORMALIZED
from tests.helpers import make_run

ROOT = Path(__file__).parents[2]


def recipe(name, *overrides):
    config = compose([f"experiment={name}", *overrides])
    with torch.device("meta"):
        return config, build_model(config, (3, 32, 32))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("sngan_cifar10", (4_276_739, 1_053_824)),
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


@pytest.mark.parametrize(
    ("name", "noise", "flip", "batches", "betas"),
    [
        ("sngan_cifar10", True, False, (64, 128), [0.0, 0.9]),
        ("wgan_gp_cifar10", False, True, (64, 128), [0.0, 0.9]),
        ("sngan_cnn_cifar10", True, False, (128, 256), [0.0, 0.9]),
        ("dcgan_cifar10", False, True, (128, 256), [0.5, 0.9]),
    ],
)
def test_images_and_batches_are_those_of_the_source(name, noise, flip, batches, betas):
    """w86763777/pytorch-gan-collections: sngan.py, wgangp.py and dcgan.py with their configs/*_CIFAR10_*.txt."""
    config, _ = recipe(name)
    assert (config.dataset.dequantize, config.dataset.flip) == (noise, flip)
    assert (config.dataset.batch_size, config.model.generator_batch_size) == batches
    for player in ("generator", "discriminator"):
        optimizer = config.model[f"{player}_optimizer"]
        assert (optimizer.lr, list(optimizer.betas)) == (2e-4, betas)


def initial(name):
    """The model of a recipe, narrow, with its initial weights."""
    torch.manual_seed(0)
    widths = [f"networks.{player}.width=16" for player in ("encoder", "decoder")]
    return build_model(compose([f"experiment={name}", *widths]), (3, 32, 32))


def test_initial_weights_are_those_of_the_source():
    """SNGAN's CNN: N(0, 0.02^2), and 1 for the gains of batch norm. DCGAN: PyTorch's own, of (transposed)
    convolutions, U(+-1 / sqrt(fan in)), fan in k^2 times the second dimension of the weight."""
    sngan = initial("sngan_cnn_cifar10")
    for module in sngan.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all()
        elif isinstance(module, NORMALIZED):
            weight = module.parametrizations.weight.original if is_parametrized(module) else module.weight
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert not module.bias.any()
    dcgan = initial("dcgan_cifar10")
    layers = [m for m in dcgan.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
    assert layers[0].weight.shape == (100, 128, 2, 2)  # 1024 channels at full width
    for layer in layers:
        bound = layer.weight[0].numel() ** -0.5
        assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)
        assert float(layer.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert all((m.weight == 1).all() for m in dcgan.modules() if isinstance(m, torch.nn.BatchNorm2d))


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


def test_stylegan2_ada_is_the_authors_configuration():
    """`cifar` of train.py: lazy regularization every 4 and 16 steps scales Adam's rate and its betas' exponents."""
    config = compose(["experiment=stylegan2_ada_cifar10"])
    model, images = config.model, config.dataset.batch_size * config.trainer.max_steps
    assert (images, config.dataset.batch_size, config.dataset.flip) == (100_000_000, 64, False)
    assert (config.ema.half_life, config.ema.ramp, config.ema.buffers) == (500_000, 0.05, "copy")
    assert (model.latent_dim, model.penalty.r1.weight, model.penalty.r1.interval) == (512, 0.01, 16)
    for optimizer, every in ((model.generator_optimizer, 4), (model.discriminator_optimizer, 16)):
        ratio = every / (every + 1)
        assert optimizer.lr == pytest.approx(0.0025 * ratio, rel=1e-6)
        assert list(optimizer.betas) == pytest.approx([0, 0.99**ratio], rel=1e-7)
    augment, networks = model.augment, config.networks
    assert (augment.target, augment.speed_images, augment.p, augment.low_pass) == (0.6, 500_000, 0, True)
    assert [name for name, factor in augment.groups.items() if factor == 1] == ["blit", "geometry", "colour"]
    assert (networks.encoder.architecture, networks.encoder.minibatch_std) == ("orig", 32)
    assert (networks.encoder.channel_base, networks.decoder.mapping_layers) == (32768, 2)
    assert (networks.decoder.noise, networks.decoder.style_mixing) == ("fresh", 0)


def test_sngan_is_step_by_step_a_loop_of_plain_pytorch(tmp_path):
    sides = runpy.run_path(str(ROOT / "benchmarks" / "sngan_by_hand.py"))["sides"]
    images = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "random.npz", images=images)
    narrow = ("networks.encoder.width=8", "networks.decoder.width=8", "model.generator_batch_size=16")
    data = ("dataset=arrays", f"dataset.path={tmp_path}/random.npz", "dataset.batch_size=8", "evaluation.nll.k=0")
    ours, plain, _ = sides(tmp_path / "run", 5, [*narrow, *data, "evaluation.projection=null"])
    assert len(ours) == 5
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-4)
