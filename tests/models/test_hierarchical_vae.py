"""The two-layer VAE against closed forms."""

import math

import pytest
import torch

from lightning_gen.config.build import build, build_data, build_model
from lightning_gen.config.compose import compose
from lightning_gen.config.tree import config_dir
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.objectives.bounds import ELBO, IWAE, importance_bound
from lightning_gen.objectives.likelihoods import Gaussian
from lightning_gen.objectives.posteriors import DiagonalGaussian
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.loading import load_model
from lightning_gen.training.train import prepare
from tests.helpers import make_run, train_run

OPTIONS = ("model=hierarchical_vae", "networks=mlp", "model.latent_dims=[3,2]", "model.widths=[5]")
OPTIONS += ("networks.encoder.widths=[6]", "networks.encoder.activation=tanh")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(make_run(tmp_path / "run", *OPTIONS).config, (1, 4, 4))


def started(step=0):
    noise = StepNoise(0)
    noise.start(step)
    return noise


def with_samples(model, samples, objective=IWAE):
    model.objective = objective(samples=samples)
    return model


def normal(mean, log_sigma):
    return DiagonalGaussian(mean, 2 * log_sigma)


def test_log_w_is_the_ratio_of_the_densities_of_both_layers(model):
    """log p(x, h1, h2) - log q(h1, h2|x), each density from torch.distributions, and their sum over the layers."""
    images = torch.rand(4, 1, 4, 4).round()
    epsilon = torch.randn(4, 3, 5)

    def density(parameters, values):
        log_sigma = 0.5 * parameters.log_variance
        return torch.distributions.Normal(parameters.mean, log_sigma.exp()).log_prob(values).sum(dim=-1)

    class Given:
        def uniform(self, shape, device):
            return torch.full(shape, 0.5)  # the images are binary: they stay as they are

        def normal(self, shape, device):
            return epsilon

    terms = with_samples(model, 3).terms(Batch(images, None), Given())
    epsilon1, epsilon2 = epsilon.transpose(0, 1).split([3, 2], dim=-1)
    q1 = model.posterior1(model.encoder(images))
    h1 = q1.mean + (0.5 * q1.log_variance).exp() * epsilon1
    q2 = model.posterior2(h1)
    h2 = q2.mean + (0.5 * q2.log_variance).exp() * epsilon2
    logits = model.decoder(h1.flatten(0, 1)).unflatten(0, (3, 4))
    bernoulli = torch.distributions.Bernoulli(logits=logits).log_prob(images).flatten(2).sum(dim=2)
    kl1 = density(q1, h1) - density(model.prior1(h2), h1)
    kl2 = density(q2, h2) - torch.distributions.Normal(0.0, 1.0).log_prob(h2).sum(dim=-1)
    torch.testing.assert_close(terms.log_weights, bernoulli - kl1 - kl2, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(terms.kl, torch.stack([kl1.mean(dim=0), kl2.mean(dim=0)], dim=1))
    torch.testing.assert_close(model.h1(terms.latents), h1)


def test_without_a_second_layer_it_is_the_one_layer_bound(model):
    """p(h1|h2) = N(0, I) and q(h2|h1) = N(0, I): log w is that of a VAE, whose divergence is known."""

    def standard(dim):
        return lambda values: normal(*torch.zeros(2, *values.shape[:-1], dim))

    model.prior1.forward, model.posterior2.forward = standard(3), standard(2)
    q = model.posterior1(model.encoder(torch.rand(4, 1, 4, 4)))
    drawn = model.draw(q, torch.randn(20_000, 4, 5, generator=torch.Generator().manual_seed(0)))
    kl1, kl2 = (drawn.log_q - drawn.log_prior).mean(dim=1)
    torch.testing.assert_close(kl2, torch.zeros(4))
    torch.testing.assert_close(kl1, q.standard_normal_kl().sum(dim=1), atol=0.03, rtol=0)


def test_many_draws_meet_the_exact_likelihood(model):
    """x | h1 ~ N(A h1, s^2), h1 | h2 ~ N(B h2, t^2), h2 ~ N(0, I): x ~ N(0, A (B B' + t^2) A' + s^2)."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(16, 3, generator=generator), torch.randn(3, 2, generator=generator)
    s, t = 1.0, 0.5
    model.decoder = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Unflatten(1, (1, 4, 4)))
    model.likelihood = Gaussian(s, learned=False)
    with torch.no_grad():
        model.decoder[0].weight.copy_(a)
        model.decoder[0].bias.zero_()
    model.prior1.forward = lambda h2: normal(h2 @ b.T, torch.tensor(math.log(t)).expand(*h2.shape[:-1], 3))
    covariance1 = b @ b.T + t**2 * torch.eye(3)
    covariance = a @ covariance1 @ a.T + s**2 * torch.eye(16)
    images = torch.distributions.MultivariateNormal(torch.zeros(16), covariance).sample((5,)).view(5, 1, 4, 4)
    gain = covariance1 @ a.T @ covariance.inverse()  # of E[h1 | x]
    spread = (covariance1 - gain @ a @ covariance1).diagonal().sqrt()
    model.encoder = torch.nn.Flatten()
    model.posterior1.forward = lambda x: normal(x @ gain.T, (1.3 * spread).log().expand(len(x), 3))
    gain2 = b.T @ covariance1.inverse()  # of E[h2 | h1]
    spread2 = (torch.eye(2) - gain2 @ b).diagonal().sqrt()
    model.posterior2.forward = lambda h1: normal(h1 @ gain2.T, (1.3 * spread2).log().expand(*h1.shape[:-1], 2))
    exact = torch.distributions.MultivariateNormal(torch.zeros(16), covariance).log_prob(images.flatten(1))
    with torch.no_grad():
        many = with_samples(model, 20_000).test_metrics(Batch(images, None), started())
        few = with_samples(model, 1).test_metrics(Batch(images, None), started())
    torch.testing.assert_close(many["bound"], exact, atol=0.1, rtol=0)
    assert few["bound"].mean() < exact.mean()
    assert (many["elbo"] < exact).all()


def test_the_test_likelihood_has_the_same_weights(model):
    images, epsilon = torch.rand(3, 1, 4, 4).round(), torch.randn(4, 3, 5)
    drawn = model.draw(model.posterior1(model.encoder(images)), epsilon)
    expected = model.log_likelihood(drawn.h1, images) + (drawn.log_prior - drawn.log_q).sum(dim=0)
    densities = model.densities(Batch(images, None), started())
    codes, log_q = densities.draw(epsilon)
    torch.testing.assert_close(densities.log_joint(codes) - log_q, expected)


def test_the_bound_grows_with_the_samples(model):
    batch = Batch(torch.rand(64, 1, 4, 4), None)
    with torch.no_grad():
        each = [with_samples(model, k).terms(batch, started()).log_weights for k in (1, 10, 100)]
    bounds = [float(importance_bound(log_weights).mean()) for log_weights in each]
    assert bounds[0] < bounds[1] < bounds[2]


def test_of_one_sample_the_bound_is_the_elbo(model):
    batch = Batch(torch.rand(6, 1, 4, 4), None)
    metrics = [with_samples(model, 1, kind).test_metrics(batch, started()) for kind in (IWAE, ELBO)]
    for each in metrics:
        torch.testing.assert_close(each["bound"], each["elbo"])
        torch.testing.assert_close(each["loss"], -each["elbo"])
        torch.testing.assert_close(each["elbo"], -each["reconstruction"] - each["kl_layer1"] - each["kl_layer2"])


def test_codes_decode_to_what_they_came_from(model):
    images = torch.rand(5, 1, 4, 4)
    h1 = model.posterior1(model.encoder(images)).mean
    torch.testing.assert_close(model.decode(model.encode(images)), model.decoder(h1).sigmoid())
    assert model.encode(images).shape == (5, 5)


def test_samples_are_ancestral(model):
    """h1 of decoded N(0, I) codes has the mean and the variance of p(h1|h2)."""
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    h2 = torch.randn(1, 2).expand(20_000, 2)
    model.decode(torch.cat([h2, torch.randn(20_000, 3)], dim=1))
    p = model.prior1(h2[:1])
    torch.testing.assert_close(seen[0].mean(dim=0), p.mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=0).log(), 0.5 * p.log_variance[0], atol=0.03, rtol=0)


def test_training_begins_at_the_mean_image(tmp_path):
    options = ("model.output_bias=data_mean", "trainer.max_steps=1", "model.optimizer.lr=0")
    run, _ = train_run(tmp_path, *OPTIONS, *options)
    model, images = load_model(run, "last"), build_data(run.config).train.images
    bias = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)][-1].bias
    expected = (images.double().mean(dim=0).flatten() / 255).clamp(0.001, 0.999)
    torch.testing.assert_close(bias.sigmoid().double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("objective", ["iwae", "elbo"])
def test_it_learns(tmp_path, objective):
    options = (f"model/objective={objective}", "model.objective.samples=5", "model.output_bias=data_mean")
    options += ("model.optimizer.lr=3e-3", "dataset.batch_size=64", "dataset.binarize=static")
    _, summary = train_run(tmp_path, *OPTIONS, *options, "trainer.max_steps=200")
    metrics = summary["metrics"]
    assert metrics["eval/elbo"] <= metrics["eval/bound"]
    assert metrics["eval/bound"] > -32  # independent pixels at their means: about -34


SINGLE_LAYER = {"beta_tc", "dip_vae_i", "dip_vae_ii", "dreg", "sticking_the_landing"}
OBJECTIVES = sorted(file.stem for file in (config_dir() / "model" / "objective").glob("*.yaml"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_goes_or_the_others_are_named(tmp_path, name):
    """Every objective of the group trains all parameters, or is refused with the names of those that do."""
    config = make_run(tmp_path, *OPTIONS, f"model/objective={name}").config
    if name in SINGLE_LAYER:
        with pytest.raises(UserError, match="needs a single layer of latents") as refused:
            build_model(config, (1, 4, 4))
        named = set(str(refused.value).split("model/objective=")[1].rstrip(".").replace(" or", ",").split(", "))
        assert named == set(OBJECTIVES) - SINGLE_LAYER
        return
    model = build_model(config, (1, 4, 4))
    model.images_seen = 6400
    model.follow_schedules()  # so that a weight that warms up is above 0
    model.objective(model.terms(Batch(torch.rand(6, 1, 4, 4), None), started())).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("model.latent_dims=[3]",), r"model\.latent_dims=\[3\] must be a list of 2 whole numbers, each 1 or more"),
        (("model/objective=iwae", "model.objective.samples=0"), r"objective\.samples=0"),
        (("model.objective=iwae",), "model/objective=iwae"),
        (("model/likelihood=categorical", "dataset.dequantize=true"), "dequantize=false"),
    ],
)
def test_mistakes_are_told_before_training(tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        prepare(make_run(tmp_path, *OPTIONS, *options))


def test_the_published_recipe():
    """784-[200,200]->100-[100,100]->50; the learning rate 1e-3 * 10^(-i/7) for 3^i epochs."""
    config = compose(["experiment=iwae50_2layer_mnist"])
    assert config.model.objective == {"_target_": "lightning_gen.objectives.bounds.IWAE", "samples": 50}
    model = build_model(config, (1, 28, 28))
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    sizes = [
        (784, 200),
        (200, 200),
        (200, 200),
        (100, 100),
        (100, 100),
        (100, 100),
        (50, 100),
        (100, 100),
        (100, 200),
    ]
    sizes += [(100, 200), (200, 200), (200, 784)]
    assert [(m.in_features, m.out_features) for m in linear] == sizes
    schedule, epochs = build(config.schedule), 3280
    assert config.trainer.max_steps * config.dataset.batch_size == epochs * 60_000
    for i in range(8):
        begins = (3**i - 1) // 2
        for epoch in (begins + 0.02, begins + 3**i - 0.02):
            factor = schedule(round(epoch * 3000), config.trainer.max_steps)
            assert factor == pytest.approx(10 ** (-i / 7))
