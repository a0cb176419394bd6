"""The published pairs: any size that divides, parameters by the papers' counts, sane at initialization."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.config.build import build
from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.models.discriminator import Discriminator
from lightning_gen.networks import r3gan
from lightning_gen.networks.blocks import Attention
from lightning_gen.networks.initialization import initialize
from lightning_gen.networks.r3gan import R3GANEncoder
from lightning_gen.networks.spectral import NORMALIZED, normalize, normalized
from lightning_gen.networks.stylegan2 import StyleGAN2Encoder

SMALL = {  # the pairs at a width for tests
    "resnet": ("encoder.width=8", "decoder.width=8"),
    "sngan_cnn": ("encoder.width=4", "decoder.width=4"),
    "dcgan": ("encoder.width=4", "decoder.width=4"),
    "dcgan_cifar": ("encoder.width=4", "decoder.width=4"),
    "r3gan_small": ("encoder.widths=8",),
    "biggan": ("encoder.width=8", "decoder.width=4"),
    "stylegan2": ("encoder.channel_base=256", "encoder.channel_max=8", "decoder.style_dim=8"),
}
CONDITIONAL = ["resnet", "r3gan_small", "biggan", "stylegan2"]


def pair(name, shape, *overrides, latent_dim=12, **arguments):
    """Encoder and decoder of networks=name."""
    config = compose([f"networks={name}", *(f"networks.{override}" for override in overrides)])
    networks = build(config.networks)
    both = (
        networks["encoder"](image_shape=shape),
        networks["decoder"](latent_dim=latent_dim, image_shape=shape, **arguments),
    )
    if networks["init"] != "default" and not next(both[0].parameters()).is_meta:
        for network in both:
            initialize(network, networks["init"], "relu")
    return both


def small_pair(name, shape, **arguments):
    torch.manual_seed(0)
    return pair(name, shape, *SMALL[name], **arguments)


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 64), (3, 8)])
def test_sizes_scale_and_gradients(name, channels, size):
    shape = (channels, size, size)
    encoder, decoder = small_pair(name, shape)
    images = decoder(torch.randn(4, 12))
    assert images.shape == (4, *shape)
    assert 0.01 < float(images.detach().std()) < 3
    features = encoder(images.tanh())
    assert features.shape == (4, encoder.num_features)
    assert features.isfinite().all()
    features.square().mean().backward()
    for key, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("count", [1, 2])
def test_batches_of_one_and_two(name, count):
    """Statistics of a batch, such as batch norm's and the minibatch deviation, have their gradients there too."""
    encoder, decoder = small_pair(name, (1, 32, 32))
    encoder(decoder(torch.randn(count, 12)).tanh()).square().mean().backward()
    gradients = [p.grad for p in (*encoder.parameters(), *decoder.parameters()) if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_on_the_images_can_be_penalized(name):
    """Second derivatives, of which WGAN-GP and R1 are made."""
    encoder, _ = small_pair(name, (1, 28, 28))
    images = torch.randn(4, 1, 28, 28, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(images).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    first = next(encoder.parameters()).grad
    assert first.isfinite().all()
    assert first.any()


@pytest.mark.parametrize("name", SMALL)
def test_sides_may_differ(name):
    encoder, decoder = small_pair(name, (1, 16, 32))
    assert decoder(torch.randn(2, 12)).shape == (2, 1, 16, 32)
    assert encoder(torch.randn(2, 1, 16, 32)).shape == (2, encoder.num_features)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_bfloat16_autocast_is_near_full_precision(name):
    encoder, decoder = small_pair(name, (3, 32, 32))
    latents = torch.randn(4, 12)
    images = decoder.eval()(latents)
    features = encoder.eval()(images)
    with torch.autocast("cpu", torch.bfloat16):
        low_images, low_features = decoder(latents), encoder(images)
    assert float((low_images - images).norm() / images.norm()) < 0.05
    assert float((low_features - features).norm() / features.norm()) < 0.05


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [30, 3])
def test_a_size_that_does_not_divide(name, size):
    family = name.removesuffix("_small")
    for make in (0, 1):
        with pytest.raises(UserError, match=rf"networks=({family}|conv) .*dataset\.size"):
            one_of(name, make, (3, size, size))


def one_of(name, index, shape):
    config = compose([f"networks={name}", *(f"networks.{override}" for override in SMALL[name])])
    networks = build(config.networks)
    return networks["decoder"](latent_dim=4, image_shape=shape) if index else networks["encoder"](image_shape=shape)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_label_conditions_the_image(name):
    """The same code with two labels gives two images, and the gradient reaches every parameter."""
    _, decoder = small_pair(name, (1, 28, 28), num_classes=3)
    code, labels = torch.randn(1, 12).expand(2, -1), torch.eye(3)[:2]
    images = decoder(torch.cat([code, labels], dim=1))
    assert not torch.allclose(images[0], images[1], atol=1e-4)
    images.square().mean().backward()
    assert all(p.grad is not None for p in decoder.parameters())


def test_resnet_has_the_published_number_of_parameters():
    """pytorch-gan-collections; with labels, StudioGAN's SNGAN (its discriminator embeds them: + 10 * 128)."""
    with torch.device("meta"):
        encoder, decoder = pair("resnet", (3, 32, 32), latent_dim=128)
        conditional = pair("resnet", (3, 32, 32), latent_dim=128, num_classes=10)[1]
        assert count(decoder) == 4_276_739
        assert count(encoder, encoder.make_head(1)) == 1_053_825
        assert count(conditional) == 4_304_387


def test_dcgan_has_the_parameters_of_the_pytorch_example():
    """Its last convolution, 4x4 to 1x1, is a linear layer on the flattened features, without a bias."""
    with torch.device("meta"):
        encoder, decoder = pair("dcgan", (3, 64, 64), latent_dim=100)
        assert count(decoder) == 3_576_704
        assert count(encoder, nn.Linear(encoder.num_features, 1, bias=False)) == 2_765_568


def test_dcgan_cifar_has_the_parameters_of_its_source():
    """1024-512-256-128-3 and 3-64-128-256-512 channels, no biases, then a linear layer from 2x2x512."""
    with torch.device("meta"):
        encoder, decoder = pair("dcgan_cifar", (3, 32, 32), latent_dim=100)
    widths = (1024, 512, 256, 128, 3)
    norms = 2 * sum(widths[:4])
    assert count(decoder) == 100 * 4096 + 16 * sum(a * b for a, b in itertools.pairwise(widths)) + norms
    assert count(encoder) == 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512)
    assert encoder.num_features == 2048


def test_sngan_cnn_has_the_parameters_of_its_source():
    with torch.device("meta"):
        encoder, decoder = pair("sngan_cnn", (3, 32, 32), latent_dim=100)
    deconvolutions = 16 * (512 * 256 + 256 * 128 + 128 * 64) + 256 + 128 + 64
    assert count(decoder) == 101 * 8192 + deconvolutions + 2 * (512 + 256 + 128 + 64) + 64 * 27 + 3
    threes = 9 * (3 * 64 + 128**2 + 256**2 + 512**2) + 64 + 128 + 256 + 512
    fours = 16 * (64 * 128 + 128 * 256 + 256 * 512) + 128 + 256 + 512
    assert count(encoder) == threes + fours
    assert encoder.num_features == 8192


def test_r3gan_has_the_published_number_of_parameters():
    """20.78M and 21.28M, conditional; the discriminator embeds the label in 768 dimensions and has no head."""
    with torch.device("meta"):
        discriminator = Discriminator(partial(R3GANEncoder), (3, 32, 32), "projection", num_classes=10)
        encoder, decoder = pair("r3gan", (3, 32, 32), latent_dim=64, num_classes=10)
        assert count(decoder) == 20_781_952
        assert count(discriminator) == 21_280_512
        encoder, decoder = pair("r3gan", (3, 32, 32), latent_dim=64)
        assert count(decoder) == 20_732_160
        assert count(encoder, encoder.make_head(1)) == 20_683_008 + 768


def test_r3gan_resamples_as_the_authors_code():
    """Numbers of its `InterpolativeUpsampler` and `InterpolativeDownsampler` (brownvc/R3GAN, [1, 2, 1] in its config)."""
    image = torch.arange(16.0).pow(1.5).view(1, 1, 4, 4)
    up, down = (r3gan.Resample(1, 1, up, r3gan.TAPS)(image)[0, 0] for up in (True, False))
    fourth = torch.tensor([8.7426, 12.5265, 14.2657, 16.0835, 17.9801, 19.9490, 21.9903, 17.2582])
    torch.testing.assert_close(up[3], fourth, atol=1e-4, rtol=0)
    torch.testing.assert_close(down, torch.tensor([[6.4798, 9.9849], [24.4824, 30.3078]]), atol=1e-4, rtol=0)


def test_r3gan_resampling_shifts_nothing():
    """The centre of a dot at pixel 8 of 16 is 8.5 pixels from the edge: 17 after doubling, 4.25 after halving."""
    dot = torch.zeros(1, 1, 16, 16)
    dot[..., 8, 8] = 1
    for up, centre in ((True, 17.0), (False, 4.25)):
        line = r3gan.Resample(1, 1, up, r3gan.TAPS)(dot).sum(dim=2).flatten()
        places = torch.arange(len(line)) + 0.5
        assert float((line * places).sum() / line.sum()) == pytest.approx(centre)


def test_r3gans_conditional_discriminator_is_an_inner_product_alone():
    """<A f, E y>, with E from N(0, 1 / (768 * 10)) as `MSRInitializer` draws it in the authors' code."""
    torch.manual_seed(0)
    wide = r3gan.LabelProjection(768, 10)
    assert float(wide.embedding.weight.detach().std()) == pytest.approx((768 * 10) ** -0.5, rel=0.03)
    assert float(wide.linear.weight.detach().std()) == pytest.approx(768**-0.5, rel=0.01)
    discriminator = Discriminator(partial(R3GANEncoder, widths=8, blocks=1), (1, 28, 28), "projection", num_classes=3)
    images, labels = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 0])
    features, projection = discriminator.encoder(2 * images - 1), discriminator.projection
    expected = torch.einsum("bf,gf,gb->b", features, projection.linear.weight, projection.embedding.weight[:, labels])
    torch.testing.assert_close(discriminator(images, torch.eye(3)[labels]), expected)


@pytest.mark.parametrize(
    "network", [partial(R3GANEncoder, widths=8, blocks=1), partial(StyleGAN2Encoder, channel_base=256, channel_max=8)]
)
def test_the_plain_projection_is_that_of_other_networks(network):
    discriminator = Discriminator(partial(network, projection="plain"), (1, 28, 28), "projection", num_classes=3)
    images, labels = torch.rand(4, 1, 28, 28), torch.eye(3)[[0, 1, 2, 0]]
    features = discriminator.encoder(2 * images - 1)
    expected = discriminator.head(features).squeeze(1) + (features * discriminator.embedding(labels)).sum(dim=1)
    torch.testing.assert_close(discriminator(images, labels), expected)


def test_r3gan_blocks_begin_as_the_identity():
    """Fix-up: so the image of the generator is the basis, scaled by the latent, doubled, and mixed to channels."""
    encoder, _ = small_pair("r3gan_small", (1, 28, 28))
    blocks = [module for module in encoder.modules() if isinstance(module, r3gan.Block)]
    x = torch.randn(2, 8, 7, 7)
    assert len(blocks) == 3
    assert all(torch.equal(block(x), x) for block in blocks)
    wide = r3gan.make_blocks([256] * 4, blocks=2, group_width=16, expansion=2)[0][0]
    assert float(wide.net[0].weight.detach().std()) == pytest.approx((2 / 1.04 / 256) ** 0.5 * 8**-0.25, rel=0.02)


def test_r3gan_widths_by_stage():
    encoder, decoder = pair("r3gan_small", (1, 28, 28), "encoder.widths=[32,16,8]")
    assert decoder.basis.shape == (32, 7, 7)
    assert encoder.num_features == 32
    with pytest.raises(UserError, match=r"encoder\.widths=\[32, 16\] must be 3 numbers, for the heights 7, 14, 28"):
        pair("r3gan_small", (1, 28, 28), "encoder.widths=[32,16]")


def test_biggan_has_the_published_number_of_parameters():
    """StudioGAN's; its discriminator has the head and an embedding of the labels in the features' 192 dimensions."""
    with torch.device("meta"):
        encoder, decoder = pair("biggan", (3, 32, 32), latent_dim=80, num_classes=10)
        assert count(decoder) == 9_416_196
        assert count(encoder, encoder.make_head(1)) + 10 * 192 == 2_415_170


@pytest.mark.parametrize("too", [False, True])
def test_spectral_norm_leaves_biggans_embedding_of_the_label(too):
    """As ajbrock/BigGAN-PyTorch: G's shared embedding is a plain one, every other matrix of G and D is normalized."""
    _, decoder = small_pair("biggan", (1, 28, 28), num_classes=3)
    normalized_too = normalize(type(decoder)(12, (1, 28, 28), 3, width=4, normalize_embedding=too))
    plain = {
        name for name, m in normalized_too.named_modules() if isinstance(m, NORMALIZED) and not is_parametrized(m)
    }
    assert plain == (set() if too else {"embedding"})
    assert count(normalized_too) == count(decoder)


def test_each_chunk_of_biggans_latent_reaches_its_own_block():
    """Without labels: a change of the last chunk leaves all blocks before the last one as they are."""
    _, decoder = small_pair("biggan", (1, 28, 28))
    seen = []
    for block in decoder.eval().blocks:
        block.register_forward_hook(lambda *call: seen.append(call[-1].detach()))
    codes = torch.randn(1, 12)
    decoder(codes)
    decoder(codes + torch.eye(12)[-1])
    assert decoder.chunks == [4, 4, 4]
    assert torch.equal(seen[0], seen[2])
    assert not torch.allclose(seen[1], seen[3], atol=1e-5)


def test_attention_is_that_of_the_paper():
    """x + gamma * (softmax over the pooled positions), by explicit sums; gamma begins at 0."""
    torch.manual_seed(0)
    layer, x = Attention(8), torch.randn(2, 8, 4, 4)
    assert torch.equal(layer(x), x)
    layer.gamma.data.fill_(0.7)
    query = layer.query(x).flatten(2)
    key, value = (nn.functional.max_pool2d(part(x), 2).flatten(2) for part in (layer.key, layer.value))
    weights = torch.einsum("bcq,bck->bqk", query, key).softmax(dim=2)
    seen = torch.einsum("bqk,bck->bcq", weights, value).unflatten(2, (4, 4))
    torch.testing.assert_close(layer(x), x + 0.7 * layer.out(seen))


def test_biggan_multipliers():
    encoder, decoder = pair("biggan", (1, 28, 28), "encoder.multipliers=[1,2,2,3]", "decoder.multipliers=[3,2,1]")
    assert encoder.num_features == 3 * 96
    assert [block.conv1.out_channels for block in decoder.blocks] == [192, 96]
    with pytest.raises(UserError, match=r"encoder\.multipliers=\[1, 2\] must be 4 numbers"):
        pair("biggan", (1, 28, 28), "encoder.multipliers=[1,2]")


def test_resnet_initialization_is_xavier():
    encoder, decoder = pair("resnet", (3, 32, 32), "encoder.width=64", "decoder.width=64")
    block = decoder.blocks[0]
    fans = 64 * 9 * 2
    assert float(block.conv1.weight.detach().std()) == pytest.approx((2 * 2 / fans) ** 0.5, rel=0.02)  # gain sqrt(2)
    assert float(block.shortcut.weight.detach().std()) == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert all(not m.bias.any() for net in (encoder, decoder) for m in net.modules() if isinstance(m, nn.Conv2d))


def test_resnet_pools_by_sum_or_mean():
    torch.manual_seed(0)
    by_sum, _ = small_pair("resnet", (1, 28, 28))
    by_mean, _ = pair("resnet", (1, 28, 28), *SMALL["resnet"], "encoder.pool=mean")
    by_mean.load_state_dict(by_sum.state_dict())
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(by_sum(images), 49 * by_mean(images))
    with pytest.raises(UserError, match=r"encoder\.pool=max"):
        pair("resnet", (1, 28, 28), "encoder.pool=max")


@pytest.mark.parametrize("name", ["resnet", "biggan"])
def test_spectral_norm_of_a_conditional_generator(name):
    _, decoder = small_pair(name, (1, 28, 28))
    spectral = normalized(type(decoder))(latent_dim=12, image_shape=(1, 28, 28), num_classes=3)
    assert spectral(torch.randn(2, 15)).isfinite().all()
