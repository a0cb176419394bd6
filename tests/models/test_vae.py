"""How the VAE puts its parts together."""

from functools import partial

import pytest
import torch

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.vae import VAE
from lightning_gen.models.vae_data import set_output_bias
from lightning_gen.models.vae_pictures import kl_bars, kl_per_dimension, traversals
from lightning_gen.networks.conv import ConvDecoder
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.bounds import ELBO, IWAE, BetaTC, DReG
from lightning_gen.objectives.discrete_likelihoods import Categorical
from lightning_gen.objectives.likelihoods import Bernoulli, Gaussian
from lightning_gen.objectives.posteriors import IAF, Diagonal, DiagonalGaussian, FullCovariance, Planar
from lightning_gen.objectives.priors import FlowPrior, Mixture, StandardNormal, Vamp
from lightning_gen.randomness import StepNoise

SHAPE = (1, 4, 4)
NETWORKS = {"encoder": partial(MLPEncoder, widths=[8]), "decoder": partial(MLPDecoder, widths=[8])}
ADAM = partial(torch.optim.Adam, lr=1e-3)


def make(**options):
    torch.manual_seed(0)
    given = {"optimizer": ADAM, "likelihood": Gaussian(sigma=0.3), "latent_dim": 3, **NETWORKS, **options}
    return VAE(SHAPE, **given)


def batch(count=6, classes=0):
    torch.manual_seed(1)
    return Batch(torch.rand(count, *SHAPE), torch.randint(classes, (count,)) if classes else None)


def started(step=0):
    noise = StepNoise(0)
    noise.start(step)
    return noise


@pytest.mark.parametrize("posterior", [Diagonal, FullCovariance, IAF, Planar])
@pytest.mark.parametrize("prior", [StandardNormal, Mixture, partial(Vamp, components=4), FlowPrior])
def test_any_posterior_with_any_prior(posterior, prior):
    """Every parameter learns, and the KL, in closed form or sampled, has the mean of log q - log p."""
    if isinstance(prior, partial) and posterior is not Diagonal:
        with pytest.raises(UserError, match="posterior=diagonal"):
            make(posterior=posterior, prior=prior)
        return
    model = make(posterior=posterior, prior=prior, objective=IWAE(samples=300))
    terms = model.terms(batch(), started())
    sampled = terms.log_q - terms.log_prior
    error = sampled.std(dim=0) / 300**0.5
    assert ((terms.kl.sum(dim=1) - sampled.mean(dim=0)).abs() <= 5 * error).all()
    model.objective(terms).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.sample(3, torch.Generator().manual_seed(0)).shape == (3, *SHAPE)


def test_the_elbo_of_k_samples_is_the_mean_of_single_ones():
    model = make(objective=ELBO(samples=7))
    terms = model.terms(batch(), started())
    images = batch().images
    each = [model.likelihood.log_prob(model.decoder(z), images) for z in terms.latents]
    torch.testing.assert_close(terms.reconstruction, -torch.stack(each).mean(dim=0))
    torch.testing.assert_close(model.elbo_terms(images, started())[0], torch.stack(each).mean(dim=0))


def test_validation_computes_the_objective_of_training():
    for objective in (ELBO(beta=4.0), IWAE(samples=3), BetaTC(), DReG(samples=3)):
        model, data = make(objective=objective), batch()
        model.count_images = lambda batch: None
        model.noise = started()
        loss = model.training_step(data, 0)
        metrics = model.test_metrics(data, started())
        torch.testing.assert_close(metrics["loss"].mean(), loss)
        torch.testing.assert_close(metrics["elbo"].mean(), model.scalars["train/elbo"])
        torch.testing.assert_close(metrics["elbo"], -metrics["reconstruction"] - metrics["kl"])


def test_bits_per_dimension_are_given_where_they_mean_something():
    def names(likelihood, dequantized=False):
        model = make(likelihood=likelihood)
        model.dequantized = dequantized
        return {name for name in model.test_metrics(batch(), started()) if "bits" in name}

    assert names(Categorical()) == {"bits_per_dim"}
    assert names(Gaussian(), dequantized=True) == {"bits_per_dim_dequantized"}
    assert names(Gaussian()) == set()
    assert names(Bernoulli()) == set()


def test_a_conditional_vae_conditions_both_of_its_networks():
    model, data = make(num_classes=3), batch(classes=3)
    others = (data.labels + 1) % 3
    codes = model.encode(data.images, data.labels)
    assert not torch.allclose(codes, model.encode(data.images, others))
    shown = model.decode(model.labelled(codes, data.labels))
    assert not torch.allclose(shown, model.decode(model.labelled(codes, others)))
    torch.testing.assert_close(model.reconstruct(data.images, data.labels), shown.detach())
    with pytest.raises(ValueError, match="labels"):
        model.encode(data.images)
    # k draws of each image go with its label
    several = model.log_likelihood(codes.expand(2, -1, -1), data.images, data.labels)
    torch.testing.assert_close(several[0], several[1])
    model.objective = IWAE(samples=2)
    assert model.objective(model.terms(data, started())).isfinite().all()
    with pytest.raises(UserError, match="conditional"):
        make(num_classes=3, prior=partial(Vamp, components=2))


def test_parts_that_do_not_go_together():
    with pytest.raises(UserError, match="beta_tc"):
        make(objective=BetaTC(), posterior=FullCovariance)
    with pytest.raises(UserError, match="dreg"):
        make(objective=DReG(2), posterior=IAF)
    with pytest.raises(UserError, match="model/objective=iwae"):
        make(objective="iwae")


def test_the_output_bias_shows_the_mean_image():
    mean = torch.rand(1, 8, 8) * 0.8 + 0.1
    for decoder in (MLPDecoder(3, (1, 8, 8), [5]), ConvDecoder(3, (1, 8, 8))):
        set_output_bias(decoder, Bernoulli().output_of(mean))
        last = decoder.net[-1] if isinstance(decoder, ConvDecoder) else decoder.net[-2]
        with torch.no_grad():
            last.weight.zero_()
        expected = mean.logit() if isinstance(decoder, MLPDecoder) else mean.logit().mean().expand(mean.shape)
        torch.testing.assert_close(decoder(torch.randn(1, 3)).detach()[0], expected)


def test_traversals_move_one_dimension_each_most_used_first():
    mean = torch.tensor([0.2, 2.0, 0.5]).expand(20, 3)
    picture = traversals(DiagonalGaussian(mean, torch.zeros_like(mean)), lambda codes: 2 * codes)
    rows = picture.images.unflatten(0, (3, picture.columns))
    assert picture.row_names == ["z1: KL 2.00 nats", "z2: KL 0.12 nats", "z0: KL 0.02 nats"]  # mean^2 / 2
    assert (picture.column_names[0], picture.column_names[-1]) == ("-3.0", "+3.0")
    for row, dimension in enumerate([1, 2, 0]):
        code = mean[0].clone()
        code[dimension] = 3.0
        torch.testing.assert_close(rows[row, -1], 2 * code)


def test_kl_per_dimension_is_that_of_each_gaussian():
    mean, log_variance = torch.tensor([[0.0, 1.0], [0.0, 3.0]]), torch.zeros(2, 2)
    torch.testing.assert_close(kl_per_dimension(DiagonalGaussian(mean, log_variance)), torch.tensor([0.0, 2.5]))
    flow = Planar(4, 3)(torch.randn(2, 4))
    assert kl_per_dimension(flow) is None
    assert kl_bars(flow) == {}
    assert kl_bars(DiagonalGaussian(mean, log_variance), "rows")["kl_per_dimension"].ylabel.endswith("2 test rows")


def test_pictures_of_a_conditional_vae_are_of_the_first_image_and_its_class():
    model, data = make(num_classes=3).eval(), batch(count=20, classes=3)
    rows = model.pictures(data.images, data.labels)["traversals"].images
    q = model.posterior_of(data.images, data.labels)
    code = q.mean[0].clone()
    most_used = q.standard_normal_kl().mean(dim=0).argmax()
    code[most_used] = -3.0
    expected = model.decode(model.labelled(code.unsqueeze(0), data.labels[:1]))
    torch.testing.assert_close(rows[:1], expected.detach())


def test_a_collapsed_posterior_is_told():
    model = make()
    model.posterior_of = lambda images, labels=None: DiagonalGaussian(torch.zeros(6, 3), torch.zeros(6, 3))
    metrics = model.held_out_metrics(lambda: [batch()])
    assert metrics["active_units"] == 0
    assert "posterior has collapsed" in model.complaints({"eval/active_units": metrics["active_units"]})[0]
    assert model.complaints({"eval/active_units": 1.0}) == []
