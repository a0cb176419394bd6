"""The layers of StyleGAN2 against explicit forms, and its networks' parameters."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lightning_gen.errors import UserError
from lightning_gen.models.discriminator import Discriminator
from lightning_gen.networks import resampling
from lightning_gen.networks.equalized import (
    TAPS,
    EqualConv2d,
    EqualLinear,
    MinibatchStd,
    convolve_each,
    double_each,
    modulate,
)
from lightning_gen.networks.spectral import normalize
from lightning_gen.networks.stylegan2 import StyleGAN2Decoder, StyleGAN2Encoder
from lightning_gen.randomness import StepNoise

TINY = {"channel_base": 256, "channel_max": 8}


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    return torch.randn(3, 4, 6, 8), torch.randn(5, 4, 3, 3), torch.randn(3, 4)  # images, weight, styles


def test_demodulated_filters_have_unit_norm(drawn):
    _, weight, styles = drawn
    norms = modulate(weight, styles, demodulate=True).flatten(2).norm(dim=2)
    torch.testing.assert_close(norms, torch.ones(3, 5))


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_a_loop_over_images(drawn, demodulate):
    images, weight, styles = drawn
    expected = []
    for image, style in zip(images, styles, strict=True):
        own = weight * style[None, :, None, None]
        if demodulate:
            own = own / own.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        expected.append(F.conv2d(image[None], own, padding=1)[0])
    torch.testing.assert_close(convolve_each(images, modulate(weight, styles, demodulate)), torch.stack(expected))


def test_doubling_convolution_is_filter_then_convolution(drawn):
    """Away from the border, where the two pad differently."""
    images, weight, styles = drawn
    weights, kernel = modulate(weight, styles, True), resampling.kernel(TAPS)
    expected = convolve_each(resampling.double(images, kernel), weights.flip(3, 4))
    result = double_each(images, weights, kernel)
    assert result.shape == (3, 5, 12, 16)
    torch.testing.assert_close(result[:, :, 2:-2, 2:-2], expected[:, :, 2:-2, 2:-2])


def test_halving_convolution_is_filter_then_stride(drawn):
    images = drawn[0]
    layer = EqualConv2d(4, 2, 1, down=True, bias=False)
    expected = F.conv2d(resampling.halve(images, layer.kernel), layer.weight / 2)  # scale 1 / sqrt(4)
    torch.testing.assert_close(layer(images), expected)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_equalized_layers_keep_the_variance_at_any_rate(rate):
    torch.manual_seed(0)
    layer = EqualLinear(400, 300, rate=rate)
    assert float(layer.weight.detach().std()) == pytest.approx(1 / rate, rel=0.02)
    assert float(layer(torch.randn(500, 400)).detach().std()) == pytest.approx(1, rel=0.05)


def test_minibatch_deviation():
    """Six images, groups of three (the most up to 4): 0 and 2 and 4, then 1 and 3 and 5."""
    images = torch.tensor([0.0, 5, 3, 5, 6, 5]).view(6, 1, 1, 1).expand(-1, 2, 4, 4)
    channel = MinibatchStd(4)(images)[:, 2]
    assert channel[0].unique().item() == pytest.approx(6**0.5)
    torch.testing.assert_close(channel[:, 0, 0], torch.tensor([6**0.5, 1e-4] * 3))


def test_features_depend_on_the_batch_only_through_the_deviation():
    images = torch.randn(4, 1, 16, 16)
    for group, alone in ((32, False), (0, True)):
        encoder = StyleGAN2Encoder((1, 16, 16), **TINY, minibatch_std=group)
        assert torch.allclose(encoder(images)[:2], encoder(images[:2]), atol=1e-5) == alone


def test_parameters_of_the_cifar_config():
    """StyleGAN2-ADA's generator with labels and noise: 20.2M; its conditional discriminator: 23.1M."""
    with torch.device("meta"):
        published = StyleGAN2Decoder(512, (3, 32, 32), num_classes=10, noise="fixed")
        plain = StyleGAN2Decoder(512, (3, 32, 32))
        encoder = StyleGAN2Encoder((3, 32, 32))
        assert count(published) == 20_215_315
        assert count(plain) == 20_215_315 - 7 - 512 * 512 - 11 * 512  # strengths, half of a layer, the embedding
        assert count(encoder, encoder.make_head(1)) == 20_720_641
        assert count(Discriminator(StyleGAN2Encoder, (3, 32, 32), "projection", num_classes=10)) == 23_089_664


def test_the_conditional_discriminator_maps_the_label():
    """<A f, m(y)> / sqrt(F), m: embedded, of unit mean square, 8 layers at a rate of 0.01 (NVlabs/stylegan2-ada)."""
    torch.manual_seed(0)
    discriminator = Discriminator(partial(StyleGAN2Encoder, **TINY), (1, 16, 16), "projection", num_classes=3)
    projection = discriminator.projection
    for parameter in discriminator.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # biases begin at 0
    images, labels = torch.rand(4, 1, 16, 16), torch.eye(3)[[0, 1, 2, 0]]
    mapped = labels @ projection.mapping.embedding.weight.T / 3**0.5 + projection.mapping.embedding.bias
    mapped = mapped / mapped.square().mean(dim=1, keepdim=True).sqrt()
    assert len(projection.mapping.layers) == 8
    for layer in projection.mapping.layers:
        mapped = F.leaky_relu(mapped @ layer.weight.T * 0.01 / 8**0.5 + 0.01 * layer.bias, 0.2) * 2**0.5
    features = discriminator.encoder(2 * images - 1)
    linear = features @ projection.linear.weight.T / 8**0.5 + projection.linear.bias
    torch.testing.assert_close(discriminator(images, labels), (linear * mapped).sum(dim=1) / 8**0.5)


def test_w_avg_is_the_running_mean_of_the_styles_of_training():
    torch.manual_seed(0)
    decoder, expected = StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=6, w_avg_decay=0.9), torch.zeros(6)
    for _ in range(3):
        latents = torch.randn(5, 8)
        decoder(latents)
        expected = 0.9 * expected + 0.1 * decoder.eval().mapping(latents).mean(dim=0)
        decoder.train()
    torch.testing.assert_close(decoder.mapping.w_avg, expected)
    decoder.eval()(latents)
    torch.testing.assert_close(decoder.mapping.w_avg, expected)
    assert "mapping.w_avg" in decoder.state_dict()


def test_truncation_is_in_w_towards_w_avg():
    """At 0 all images are that of w_avg, at 1 nothing happens, between them the style is on the line."""
    torch.manual_seed(0)
    decoder, latents = StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=8), torch.randn(3, 8)
    for _ in range(4):
        decoder(10 * latents)
    decoder.eval()
    cut = {psi: decoder(latents, truncation=psi) for psi in (0.0, 0.7, 1.0)}
    torch.testing.assert_close(cut[1.0], decoder(latents))
    torch.testing.assert_close(cut[0.0], cut[0.0][:1].expand(3, -1, -1, -1))
    mean = decoder.mapping.w_avg
    given = mean + 0.7 * (decoder.mapping(latents) - mean)
    decoder.mapping.forward = lambda _: given
    torch.testing.assert_close(cut[0.7], decoder(latents))
    with pytest.raises(UserError, match=r"w_avg_decay=null"):
        StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=8, w_avg_decay=None)(latents, truncation=0.7)


def test_fixed_noise_begins_without_effect_and_stays_the_same():
    torch.manual_seed(0)
    decoder, latents = StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=8, noise="fixed"), torch.randn(2, 8)
    before = decoder(latents)
    for name, parameter in decoder.named_parameters():
        if name.endswith("strength"):
            parameter.data.fill_(0.5)
    after = decoder(latents)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.equal(after, decoder(latents))


@pytest.mark.parametrize("options", [{"architecture": "rest"}, {"noise": "random"}])
def test_unknown_choices(options):
    with pytest.raises(UserError, match=r"networks\.decoder\.(architecture=rest|noise=random): use"):
        StyleGAN2Decoder(8, (1, 16, 16), **TINY, **options)


def test_other_architectures():
    images = StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=8, architecture="orig")(torch.randn(2, 8))
    features = StyleGAN2Encoder((1, 16, 16), **TINY, architecture="resnet")(images)
    assert images.shape == (2, 1, 16, 16)
    assert features.shape == (2, 8)


def test_spectral_norm_says_that_it_does_not_apply():
    with pytest.raises(UserError, match=r"StyleGAN2Encoder has no layer .*networks\.spectral_norm=none"):
        normalize(StyleGAN2Encoder((1, 16, 16), **TINY))


def test_fresh_noise_is_that_of_the_training_step():
    """New maps for each image and call of a training step; the maps drawn once where there is none."""
    decoder, latents = StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=8, noise="fresh"), torch.randn(2, 8)
    with torch.no_grad():
        for layer in (decoder.first, *decoder.up, *decoder.same):
            layer.strength.fill_(1.0)
    noise = StepNoise(0)
    calls = [decoder(latents, noise=noise) for _ in range(2)]
    assert not torch.equal(*calls)
    noise.start(0)
    assert torch.equal(decoder(latents, noise=noise), calls[0])
    assert torch.equal(decoder(latents), decoder(latents))
    same = decoder(latents[:1].expand(2, -1), noise=noise)
    assert not torch.equal(same[0], same[1])


def test_mixed_styles_come_from_two_codes():
    """Every layer from a random one on has the other code's style, in the given part of the images; only in training."""
    decoder = StyleGAN2Decoder(8, (1, 16, 16), **TINY, style_dim=8, style_mixing=0.5)
    latents = torch.randn(4000, 8)
    with torch.no_grad():
        plain, mixed = decoder.styles(latents), decoder.styles(latents, noise=StepNoise(0))
    layers = decoder.num_styles
    assert layers == 2 * len(decoder.to_image)
    own = (plain == mixed).all(dim=2)  # [B, layers]
    assert own[:, 0].all()
    assert torch.equal(own, own.cumprod(dim=1).bool())  # own styles below, others above
    first = own.sum(dim=1)  # the first layer with the other style
    assert float((first < layers).float().mean()) == pytest.approx(0.5, abs=0.03)
    counts = torch.bincount(first[first < layers], minlength=layers)[1:]
    assert (counts / counts.sum() - 1 / (layers - 1)).abs().max() < 0.03
    other = mixed[first < layers]
    assert not torch.isclose(other[:, -1], other[:, 0]).all(dim=1).any()


def test_each_layer_that_shows_the_image_shares_the_next_convolutions_style():
    """As in the authors' code: two styles for each resolution; a change of one changes nothing below it."""
    decoder = StyleGAN2Decoder(8, (1, 8, 8), **TINY, style_dim=8).eval()
    styles = torch.randn(1, decoder.num_styles, 8)
    with torch.no_grad():
        image = decoder.synthesize(styles)
        for layer in range(decoder.num_styles):
            changed = styles.clone()
            changed[:, layer] += 1
            assert not torch.equal(decoder.synthesize(changed), image), layer
