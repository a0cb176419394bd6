"""Squared error, PSNR, SSIM and the Frechet distance of reconstructions."""

import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_gen.errors import UserError
from lightning_gen.metrics import packaged_classifier
from lightning_gen.metrics.cache import ResultCache
from lightning_gen.metrics.reconstruction import build_lpips, evaluate_reconstruction, psnr, ssim
from lightning_gen.pictures import to_float


def test_psnr_of_a_known_error():
    a = torch.full((2, 1, 16, 16), 0.5)
    values = psnr(a, a + torch.tensor([0.1, 0.0]).view(2, 1, 1, 1))
    assert values.tolist() == pytest.approx([20.0, 100.0], abs=1e-4)


@pytest.mark.parametrize("size", [4, 8, 11, 28])
def test_ssim_of_constant_images_is_their_luminance_term(size):
    # Wang et al. 2004, eq. 6 with mu = 0.2, 0.6 and C1 = 1e-4; structure and contrast are 1.
    a, b = torch.full((2, 1, size, size), 0.2), torch.full((2, 1, size, size), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(a, b).tolist() == pytest.approx([expected] * 2, rel=1e-3)
    noise = torch.rand(3, 3, size, size)
    assert ssim(noise, noise).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (5, 3, 12, 40), (5, 1, 11, 30), (5, 3, 8, 8), (5, 1, 2, 2)])
def test_ssim_equals_torchmetrics(shape):
    a = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    b = (a + 0.3 * a.flip(0)).clamp(0, 1)
    small = {"gaussian_kernel": False, "kernel_size": 1 if shape[-1] == 2 else 7} if min(shape[-2:]) <= 11 else {}
    reference = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", **small)
    torch.testing.assert_close(ssim(a, b), reference.reshape(5), atol=2e-6, rtol=0)


def test_a_perfect_and_an_offset_reconstruction(digits):
    images = digits[1][0]
    net = packaged_classifier("digits")
    metrics, protocol = evaluate_reconstruction(lambda x: x, images, net, ema=True)
    assert metrics["eval/reconstruction_mse"] == 0
    assert metrics["eval/psnr"] == pytest.approx(100)
    assert metrics["eval/ssim"] == pytest.approx(1, abs=1e-6)
    assert metrics["eval/reconstruction_fid_classifier"] < 1e-9
    assert protocol.keys() == metrics.keys()
    distance = protocol["eval/reconstruction_fid_classifier"]
    assert {"n_real": 360, "ema": True, "extractor": net.name}.items() <= distance.items()
    assert "extractor" not in protocol["eval/psnr"]
    half, _ = evaluate_reconstruction(lambda x: x / 2, images, net)
    mse = (to_float(images) / 2).square().mean().item()
    assert half["eval/reconstruction_mse"] == pytest.approx(mse, rel=1e-5)
    assert half["eval/psnr"] == pytest.approx(-10 * math.log10(mse), abs=0.5)
    assert half["eval/reconstruction_fid_classifier"] > 0.1


def test_with_a_cache_only_reconstructions_pass_through_the_extractor_again(digits, tmp_path):
    images, net, seen = digits[1][0][:60], packaged_classifier("digits"), []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    without = evaluate_reconstruction(lambda x: x / 2, images, net)
    assert sum(seen) == 120
    for expected in (240, 300, 360):
        assert evaluate_reconstruction(lambda x: x / 2, images, net, cache=ResultCache(tmp_path)) == without
        assert sum(seen) == expected


def test_a_model_that_draws_is_repeatable_and_leaves_the_global_generator(digits):
    images = digits[1][0][:50]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, _ = evaluate_reconstruction(torch.rand_like, images)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert evaluate_reconstruction(torch.rand_like, images)[0] == first


def test_lpips_without_its_weights_says_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"alexnet.*\.pth"):
        build_lpips()
