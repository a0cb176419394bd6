"""The Gaussian mixture: its density, both fits, and what it says of what it cannot do."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from lightning_gen.data.sources.points import RING_STD
from lightning_gen.errors import UserError
from lightning_gen.models.expectation_maximization import NAMES, iterate, start
from lightning_gen.models.gmm import GMM
from lightning_gen.models.principal_subspace import PrincipalSubspace
from lightning_gen.objectives.priors import Mixture
from lightning_gen.randomness import StepNoise
from lightning_gen.training.train import prepare
from tests.choices import batch_of, fit, made
from tests.helpers import assert_same, logged, make_run, resume_run, train_run

EM = ("model=gmm", "model.components=3", "model.pca_dims=6", "model.tolerance=0")
EXACT = ("evaluation.nll.k=1", "evaluation.nll.images=null", "evaluation.held_out=null")


def two_clusters(count=400, dim=3):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(count, dim, generator=generator).double() * torch.tensor([1.0, 0.5, 2.0])
    codes[: count // 3] += torch.tensor([4.0, 1.0, 0.0])
    return codes


@pytest.mark.parametrize("covariance", NAMES)
def test_em_is_that_of_scikit_learn(covariance):
    codes = two_clusters()
    mixture = Mixture(3, (1, 1, 3), 3, covariance).double()
    start(mixture, codes, 1e-6, "kmeans", seed=0)
    before = [iterate(mixture, codes, 1e-6) for _ in range(8)]
    theirs = GaussianMixture(3, covariance_type=NAMES[covariance], tol=0, max_iter=8, random_state=0)
    with pytest.warns(ConvergenceWarning):
        theirs.fit(codes)
    np.testing.assert_allclose(before, theirs.lower_bounds_, rtol=1e-9)
    np.testing.assert_allclose(mixture.log_weights.exp().detach(), theirs.weights_, rtol=1e-9)
    np.testing.assert_allclose(mixture.means.detach(), theirs.means_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mixture.log_prob(codes).detach(), theirs.score_samples(codes), rtol=1e-9)
    assert before == sorted(before)  # no iteration lowers the likelihood


def test_one_component_in_a_subspace_is_probabilistic_pca():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(200, 1, 2, 4, generator=generator) @ torch.rand(4, 4, generator=generator) / 4
    model = GMM((1, 2, 4), torch.optim.Adam, components=1, pca_dims=3)
    model.space.fit(images, 1e-12)
    start(model.mixture, model.space.codes(images), 1e-12, "kmeans", seed=0)
    rows = images.flatten(1).double()
    covariance = torch.from_numpy(PCA(3, svd_solver="full").fit(rows.numpy()).get_covariance()) * 199 / 200
    expected = MultivariateNormal(rows.mean(dim=0), covariance)
    torch.testing.assert_close(model.log_prob(images), expected.log_prob(rows), rtol=1e-6, atol=1e-6)
    drawn = model.simulated(20_000, StepNoise(0))
    surprise = -expected.log_prob(drawn.flatten(1))
    assert surprise.mean().item() == pytest.approx(expected.entropy().item(), abs=5 * 2 / 20_000**0.5)


def test_without_principal_components_codes_are_the_pixels():
    images, space = torch.rand(3, 1, 2, 2), PrincipalSubspace(4, None)
    space.fit(images, 1e-6)
    torch.testing.assert_close(space.codes(images), images.flatten(1).double())
    assert not space.log_prob_outside(images, space.codes(images)).any()


@pytest.mark.parametrize("covariance", NAMES)
def test_nll_minus_entropy_is_the_divergence(covariance):
    """p and q are mixtures of distant components: entropy and divergence are sums over the components."""
    weights, others = torch.tensor([0.3, 0.7]), torch.tensor([0.4, 0.6])
    means = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    p, q = Mixture(2, (1, 1, 2), 2).double(), GMM((1, 1, 2), torch.optim.Adam, 2, covariance)
    p.set_to(weights, means, torch.ones(2, 2))
    wider = {"full": torch.eye(2).repeat(2, 1, 1), "tied": torch.eye(2), "diagonal": torch.ones(2, 2)}
    q.mixture.set_to(others, means, 1.5 * wider.get(covariance, torch.ones(2)))
    generator = torch.Generator().manual_seed(0)
    points = p(torch.randn(200_000, 2, generator=generator), torch.rand(200_000, generator=generator))
    entropy = -(weights * weights.log()).sum() + 1 + math.log(2 * math.pi)
    divergence = (weights * (weights / others).log()).sum() + math.log(1.5) + 1 / 1.5 - 1
    found = -q.log_prob(points.view(-1, 1, 1, 2)).mean() - entropy
    assert found.item() == pytest.approx(divergence.item(), abs=0.01)


def test_em_finds_the_ring_and_its_nll_is_the_entropy(tmp_path):
    ring = ("dataset=gaussians", "dataset.num_points=4000", "dataset.num_test=4000", "networks=mlp")
    kind = ("model=gmm", "model.components=8", "model.covariance=spherical", "model.min_sigma=1e-5")
    run, summary = train_run(tmp_path, *kind, *ring, *EXACT, "trainer.max_steps=100")
    metrics, protocol = summary["metrics"], summary["protocol"]["eval/nll"]
    entropy = math.log(8) + math.log(2 * math.pi * math.e) + 2 * math.log(RING_STD / 3)
    assert metrics["eval/nll"] == pytest.approx(entropy, abs=0.05)  # of 4,000 points: a standard error of 0.016
    assert metrics["eval/nll"] == pytest.approx(metrics["eval/loss"], abs=1e-4)
    assert metrics["eval/modes_found"] == 8
    assert protocol["method"] == "exact"
    assert "k" not in protocol
    assert summary["progress"]["step"] < 100  # EM has converged
    assert summary["status"] == "completed"
    again, after = resume_run(run.path, 200)
    assert after["progress"]["step"] == summary["progress"]["step"]
    assert_same(again.read_checkpoint()["state_dict"], run.read_checkpoint()["state_dict"])


def test_em_resumes_to_the_bit(tmp_path):
    whole, summary = train_run(tmp_path / "whole", *EM, "trainer.max_steps=5")
    train_run(tmp_path / "parts", *EM, "trainer.max_steps=2")
    resumed, _ = resume_run(tmp_path / "parts", 5)
    assert_same(resumed.read_checkpoint()["state_dict"], whole.read_checkpoint()["state_dict"])
    losses, again = ([float(row["train/loss"] or 0) for row in logged(run.path)] for run in (whole, resumed))
    assert again == losses
    assert losses[1:] == sorted(losses[1:], reverse=True)
    assert summary["progress"]["images_seen"] == 5 * 1437  # all of the digits in each step


@pytest.mark.parametrize("covariance", NAMES)
def test_the_gradient_lowers_the_loss(covariance):
    model = made("gmm", {})
    model.mixture = Mixture(5, (1, 8, 8), 2, covariance).double()
    model.make_optimizer = lambda parameters: torch.optim.Adam(parameters, lr=0.05)
    batch = batch_of(6)
    before = -model.log_prob(batch.images).mean()
    fit(model, batch, steps=20)
    assert -model.log_prob(batch.images).mean() < before - 1
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("dataset.flip=true",), "dataset.flip=false"),
        (("model.pca_dims=64",), "model.pca_dims=64 is not below 64, the number of values"),
        (("dataset.limit=10",), "model.components=10 is too many for 10"),
    ],
)
def test_what_cannot_be_fitted_is_told_before_training(tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        prepare(make_run(tmp_path / "run", "model=gmm", *options))


def test_the_message_of_a_failed_fit_names_what_there_is_too_little_of():
    with pytest.raises(UserError, match=r"cannot be fitted to 2 training points .*: set model\.components lower"):
        start(Mixture(2, (1, 1, 2), components=3), torch.eye(2), 1e-6, "kmeans", seed=0, unit="points")


def test_mps_which_has_no_float64_is_refused():
    on_mps = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("mps")), world_size=1)
    with pytest.raises(UserError, match="MPS does not have: set hardware=cpu"):
        made("gmm", {}).check_training(on_mps)
