"""The models wire the objectives as the papers say."""

from functools import partial

import pytest
import torch

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.models.gan import GAN
from lightning_gen.models.vae import VAE
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.adversarial import NonSaturating
from lightning_gen.objectives.bounds import ELBO
from lightning_gen.objectives.likelihoods import Bernoulli, Gaussian
from lightning_gen.objectives.posteriors import DiagonalGaussian
from lightning_gen.pictures import Grid
from lightning_gen.randomness import StepNoise

SHAPE = (1, 4, 4)
NETWORKS = {"encoder": partial(MLPEncoder, widths=[8]), "decoder": partial(MLPDecoder, widths=[8])}
ADAM = partial(torch.optim.Adam, lr=1e-3)


def make(kind, **options):
    torch.manual_seed(0)
    extra = {
        Autoencoder: {"optimizer": ADAM},
        VAE: {"optimizer": ADAM, "likelihood": Gaussian()},
        GAN: {"generator_optimizer": ADAM, "discriminator_optimizer": ADAM, "loss": NonSaturating()},
    }[kind]
    return kind(SHAPE, **NETWORKS, **{"latent_dim": 3, **extra, **options})


@pytest.mark.parametrize("kind", [Autoencoder, VAE, GAN])
def test_samples_are_images(kind):
    model = make(kind)
    images = model.sample(5, torch.Generator().manual_seed(1))
    assert images.shape == (5, *SHAPE)
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, model.sample(5, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("kind", [Autoencoder, VAE, GAN])
def test_interpolation_begins_and_ends_at_its_ends(kind):
    """Straight for an autoencoder, on the sphere for a normal prior."""
    model = make(kind)
    start, end = torch.randn(2, 3), torch.randn(2, 3)
    line = model.interpolate(start, end, steps=5)
    assert line.shape == (2, 5, *SHAPE)
    torch.testing.assert_close(line[:, 0], model.decode(start))
    torch.testing.assert_close(line[:, -1], model.decode(end))
    middle = (start + end) / 2
    if kind is not Autoencoder:
        directions = start / start.norm(dim=1, keepdim=True) + end / end.norm(dim=1, keepdim=True)
        norm = (start.norm(dim=1, keepdim=True) + end.norm(dim=1, keepdim=True)) / 2
        middle = norm * directions / directions.norm(dim=1, keepdim=True)
    torch.testing.assert_close(line[:, 2], model.decode(middle))


@pytest.mark.parametrize("kind", [Autoencoder, VAE, GAN])
def test_pictures(kind):
    pictures = make(kind).pictures(torch.rand(64, *SHAPE))
    names = {"samples", "interpolations"} | ({"reconstructions"} if kind is not GAN else set())
    names |= {"traversals", "kl_per_dimension"} if kind is VAE else set()
    assert set(pictures) == names
    assert all(made.images.shape[1:] == SHAPE for made in pictures.values() if isinstance(made, Grid))


def test_images_of_another_shape_are_told():
    model = make(Autoencoder)
    model.decoder = torch.nn.Flatten()
    with pytest.raises(UserError, match=r"decode gave the shape \(2, \d+\)"):
        model.sample(2)


def test_a_gan_says_that_it_cannot_encode():
    from lightning_gen.errors import UserError

    with pytest.raises(UserError, match="no encoder"):
        make(GAN).reconstruct(torch.rand(1, *SHAPE))


def test_autoencoder_loss_sums_over_pixels():
    model, images = make(Autoencoder), torch.rand(6, *SHAPE)
    expected = ((model.reconstruct(images) - images) ** 2).sum(dim=(1, 2, 3))
    metrics = model.test_metrics(Batch(images, None), StepNoise(0))
    torch.testing.assert_close(metrics["squared_error"], expected)
    torch.testing.assert_close(metrics["reconstruction_mse"], expected / 16)


def test_density_of_codes_has_their_moments():
    model = make(Autoencoder)
    mixing = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # the third dimension is constant
    codes = torch.randn(5000, 3) @ mixing + torch.tensor([1.0, -2.0, 3.0])
    model.density.fit(codes)
    drawn = model.sample_latents(200_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(correction=0), atol=0.03, rtol=0)


def test_elbo_bounds_the_exact_likelihood():
    """A linear decoder has p(x) in closed form; the ELBO lies below it, and meets it at the exact posterior.

    x | z ~ N(W z + b, s^2 I), z ~ N(0, I): p(x) = N(b, W W^T + s^2 I) and the posterior is Gaussian with a
    diagonal covariance where the columns of W are orthogonal (Bishop 2006, eq. 12.42).
    """
    sigma, dim = 0.3, 16
    basis = torch.linalg.qr(torch.randn(dim, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    weight, bias = basis * torch.tensor([1.5, 0.7]).double(), torch.linspace(0, 1, dim).double()
    model = make(VAE, likelihood=Gaussian(sigma, learned=False), latent_dim=2).double()
    images = (bias + torch.randn(50, 2).double() @ weight.T + sigma * torch.randn(50, dim).double()).view(50, *SHAPE)
    variance = sigma**2 / (weight.square().sum(0) + sigma**2)

    def exact_posterior(x, labels=None):
        mean = (x.flatten(1) - bias) @ weight * variance / sigma**2
        return DiagonalGaussian(mean, variance.log().expand_as(mean))

    model.decoder = torch.nn.Sequential(torch.nn.Linear(2, dim).double(), torch.nn.Unflatten(1, SHAPE))
    with torch.no_grad():
        model.decoder[0].weight.copy_(weight)
        model.decoder[0].bias.copy_(bias)
    marginal = torch.distributions.MultivariateNormal(bias, weight @ weight.T + sigma**2 * torch.eye(dim).double())
    exact = marginal.log_prob(images.flatten(1))
    torch.set_default_dtype(torch.float64)
    try:
        elbos = []
        for _ in range(2):
            draws = [model.elbo_terms(images, _started(step)) for step in range(400)]
            elbos.append(torch.stack([log_prob - kl for log_prob, kl in draws]).mean(0).detach())
            model.posterior_of = exact_posterior
    finally:
        torch.set_default_dtype(torch.float32)
    assert (elbos[0] < exact + 0.2).all()
    torch.testing.assert_close(elbos[1].mean(), exact.mean(), atol=0.05, rtol=0)


def _started(step):
    noise = StepNoise(0)
    noise.start(step)
    return noise


def test_beta_weighs_the_kl_alone():
    images = torch.rand(8, *SHAPE)
    losses = {}
    for beta in (0.0, 1.0, 4.0):
        model = make(VAE, objective=ELBO(beta=beta))
        model.count_images = lambda batch: None
        losses[beta] = model.training_step(Batch(images, None), 0)
        elbo, kl = model.scalars["train/elbo"], model.scalars["train/kl"]
        torch.testing.assert_close(losses[beta].detach(), -elbo + (beta - 1) * kl)
    assert losses[4.0] > losses[1.0] > losses[0.0]


def test_bernoulli_binarizes_what_the_encoder_sees():
    model, seen = make(VAE, likelihood=Bernoulli()), []
    model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.elbo_terms(torch.full((4, *SHAPE), 0.5), StepNoise(0))
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_each_phase_moves_its_player_only(player):
    model = make(GAN)
    phase = next(p for p in model.phases if p.name == player)
    other = {"discriminator": model.generator, "generator": model.discriminator}[player]
    other.requires_grad_(False)
    loss = phase.loss(Batch(torch.rand(6, *SHAPE), None), 0)
    loss.backward()
    mine = model.discriminator if player == "discriminator" else model.generator
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mine.parameters())
    assert all(p.grad is None for p in other.parameters())


def test_discriminator_sees_minus_one_to_one():
    model, seen = make(GAN), []
    model.discriminator.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.discriminator(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, *SHAPE))
    assert seen[0].flatten(1)[:, 0].tolist() == [-1.0, 1.0]
