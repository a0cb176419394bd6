"""Reconstruction errors, corruptions and regularizers against closed forms."""

import math

import pytest
import torch
from torch import nn

from lightning_gen.config.build import build
from lightning_gen.config.compose import compose
from lightning_gen.objectives import corruption, reconstruction, regularizers
from lightning_gen.randomness import StepNoise


@pytest.fixture
def noise():
    return StepNoise(0)


def seen(codes, noise, **parts):
    empty = dict.fromkeys(("images", "encode", "decode", "single_layer"), None)
    return regularizers.AutoencoderPass(
        **{**empty, "codes": codes, "noise": noise, "decoder_parameters": [], **parts}
    )


def test_reconstruction_errors_sum_over_pixels_and_keep_images_apart():
    images = torch.tensor([[0.0, 1.0], [0.25, 0.25]]).view(2, 1, 1, 2)
    raw = torch.zeros(2, 1, 1, 2)  # reconstructions of 0.5
    assert reconstruction.squared_error(raw, images).tolist() == [0.5, 0.125]
    assert reconstruction.absolute_error(raw, images).tolist() == [1.0, 0.5]
    assert reconstruction.cross_entropy(raw, images).tolist() == pytest.approx([2 * math.log(2)] * 2)


def test_cross_entropy_of_grey_is_least_at_the_image_where_it_is_its_entropy():
    image = torch.tensor([0.3]).view(1, 1, 1, 1)
    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    assert float(reconstruction.cross_entropy(image.logit(), image)) == pytest.approx(entropy)
    assert float(reconstruction.cross_entropy(image.logit() + 0.1, image)) > entropy


def test_masking_sets_the_asked_fraction_to_zero(noise):
    values = torch.full((100, 1000), 0.7)
    masked = corruption.masking(values, noise, amount=0.3)
    assert set(masked.unique().tolist()) == {0.0, values[0, 0].item()}
    assert float((masked == 0).float().mean()) == pytest.approx(0.3, abs=0.01)  # 7 standard errors
    assert torch.equal(values, torch.full((100, 1000), 0.7))


def test_salt_and_pepper_are_equally_frequent(noise):
    noisy = corruption.salt_and_pepper(torch.full((100, 1000), 0.7), noise, amount=0.4)
    assert float((noisy == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert float((noisy == 1).float().mean()) == pytest.approx(0.2, abs=0.01)


def test_gaussian_corruption_has_its_standard_deviation(noise):
    added = corruption.gaussian(torch.full((100, 1000), 0.7), noise, amount=0.5) - 0.7
    assert float(added.mean()) == pytest.approx(0, abs=0.01)
    assert float(added.std()) == pytest.approx(0.5, abs=0.01)


def test_a_shift_moves_each_image_as_a_whole_and_pads_with_zeros(noise):
    dot = torch.zeros(900, 1, 5, 5)
    dot[:, :, 2, 2] = 1
    moved = corruption.random_shift(dot, noise, pixels=1)
    places = moved.flatten(1).argmax(dim=1)
    assert torch.equal(moved.flatten(1).sum(dim=1), torch.ones(900))
    counts = torch.bincount(places, minlength=25).view(5, 5)
    assert counts[1:4, 1:4].min() > 60  # 100 expected at each of the nine places
    assert int(counts.sum() - counts[1:4, 1:4].sum()) == 0
    edge = corruption.random_shift(torch.ones(50, 1, 3, 3), noise, pixels=2)
    assert set(edge.unique().tolist()) == {0.0, 1.0}


def test_kl_sparsity_is_the_divergence_of_bernoullis():
    activations = torch.tensor([[0.1, 0.5], [0.3, 0.5]])  # means 0.2 and 0.5
    kl = sum(0.2 * math.log(0.2 / m) + 0.8 * math.log(0.8 / (1 - m)) for m in (0.2, 0.5))
    assert float(regularizers.kl_sparsity(activations, target=0.2)) == pytest.approx(kl)


def test_k_sparse_keeps_the_largest_and_passes_their_gradient_only():
    codes = torch.tensor([[3.0, -4.0, 1.0, 2.0]], requires_grad=True)
    kept = regularizers.KSparse(2).transform(codes)
    assert kept.tolist() == [[3.0, 0.0, 0.0, 2.0]]
    kept.sum().backward()
    assert codes.grad.tolist() == [[1.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("activation", [nn.Identity(), nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.SiLU()])
def test_single_layer_jacobian_is_the_norm_of_the_full_jacobian(activation):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 4), torch.rand(3, 6)
    exact = regularizers.single_layer_jacobian(inputs, layer, activation)
    for row, value in zip(inputs, exact, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: activation(layer(x)), row)
        assert float(value.detach()) == pytest.approx(float(jacobian.square().sum()), rel=1e-5)


def test_hutchinson_agrees_with_the_exact_jacobian_where_both_exist(noise):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(20, 8), torch.rand(4, 20)
    exact = regularizers.single_layer_jacobian(inputs, layer, torch.sigmoid)
    probes = 4000
    estimate = regularizers.hutchinson_jacobian(lambda x: layer(x).sigmoid(), inputs, noise, probes)
    torch.testing.assert_close(estimate, exact, rtol=0.05, atol=0)  # about 4 standard errors


def test_hutchinson_is_exact_for_one_output_and_sees_deep_networks(noise):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    inputs = torch.rand(3, 5)
    jacobians = [torch.autograd.functional.jacobian(net, row) for row in inputs]
    expected = torch.stack([j.square().sum() for j in jacobians])
    torch.testing.assert_close(regularizers.hutchinson_jacobian(net, inputs, noise), expected)


@pytest.mark.parametrize("single", [True, False])
def test_contractive_penalty_trains_the_encoder(noise, single):
    layer = nn.Linear(5, 3)
    images = torch.rand(2, 1, 1, 5)

    def encode(x):
        return layer(x.flatten(1)).sigmoid()

    one = (layer, torch.sigmoid) if single else None
    part = seen(encode(images), noise, images=images, encode=encode, single_layer=one)
    regularizers.Contractive(1.0).penalty(part).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_rae_penalties(noise):
    codes = torch.tensor([[1.0, 2.0], [0.0, 2.0]])
    l2 = regularizers.RAEL2(beta=0.5, decoder_weight=0.1)
    weights = [torch.tensor([[1.0], [3.0]]), torch.tensor([5.0])]  # a matrix, and a bias that is left alone
    assert l2.penalty(seen(codes, noise, decoder_parameters=weights)).tolist() == [2.25, 2.0]
    matrix = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # |J|^2 = 13; signs cannot change it, the matrix is diagonal
    gp = regularizers.RAEGP(beta=0.0, weight=0.1)
    assert gp.penalty(seen(codes, noise, decode=lambda z: z @ matrix)).tolist() == pytest.approx([1.3, 1.3])
    assert regularizers.L1(2.0).penalty(seen(-codes, noise)).tolist() == [6.0, 4.0]


def test_rae_weighs_as_the_authors_code():
    """`total_loss` of ParthaEth/Regularized_autoencoders-RAE- with its MNIST config: mean over pixels of the squared
    error summed over channels, + 1e-4 mean(z^2) + 1e-7 sum W^2, times 1,024 pixels."""
    torch.manual_seed(0)
    image, decoded, codes = torch.rand(3, 1, 32, 32), torch.rand(3, 1, 32, 32), 3 * torch.randn(3, 16)
    decoder = nn.Sequential(nn.Linear(16, 20), nn.BatchNorm1d(20), nn.Linear(20, 1024, bias=False))
    theirs = (image - decoded).square().sum(dim=1).mean(dim=(1, 2)) + 1e-4 * codes.square().mean(dim=1)
    theirs = theirs + 1e-7 * (decoder[0].weight.square().sum() + decoder[2].weight.square().sum())
    config = compose(["model=ae", "model/regularizer=rae_l2"]).model
    assert config.latent_dim == 16
    part = seen(codes, None, decoder_parameters=decoder.parameters())
    ours = (image - decoded).square().sum(dim=(1, 2, 3)) + build(config.regularizer).penalty(part)
    torch.testing.assert_close(ours, 1024 * theirs)
    gradient_penalty = compose(["model=ae", "model/regularizer=rae_gp"]).model.regularizer
    assert gradient_penalty.beta == config.regularizer.beta


def _mean_worker(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    value = torch.tensor([1.0 + rank], requires_grad=True)
    regularizers.mean_over_processes(value).square().sum().backward()
    torch.save(value.grad, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_the_mean_over_processes_has_the_gradient_of_one_process(tmp_path):
    torch.multiprocessing.spawn(_mean_worker, args=(str(tmp_path),), nprocs=2)
    # f(m) = m^2 at m = 1.5: each process's share, averaged as DDP does over its gradients, is f'(m) = 3
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt").tolist() == [3.0]
