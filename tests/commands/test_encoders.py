"""Commands on the codes of a trained run, and their pictures."""

import re
from functools import partial

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.commands.evaluate import attach_prior
from lightning_gen.errors import UserError
from lightning_gen.evaluation import fitted_priors as priors
from lightning_gen.evaluation.code_pictures import PLANE_SIDE, check_projection, latent_pictures, plane, project
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.latent_density import GaussianMixture
from lightning_gen.pictures import Scatter
from lightning_gen.runs.loading import load_model
from tests.drawing import drawn_pictures
from tests.helpers import train_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("posthoc") / "run"
    options = ("model=ae", "networks=mlp", "model.latent_dim=2", "trainer.max_steps=60", "evaluation.projection=pca")
    with drawn_pictures():
        return train_run(path, *options)[0]


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False).output


def test_a_mixture_finds_its_components_and_samples_their_moments():
    generator = torch.Generator().manual_seed(0)
    which = (torch.rand(6000, generator=generator) < 0.25).long()
    means = torch.tensor([[0.0, 0.0], [10.0, 5.0]])
    codes = means[which] + torch.tensor([1.0, 0.1]) * torch.randn(6000, 2, generator=generator)
    density = GaussianMixture(2, components=2)
    density.fit(codes)
    order = density.weights.argsort(descending=True)
    torch.testing.assert_close(density.weights[order], torch.tensor([0.75, 0.25]), atol=0.02, rtol=0)
    torch.testing.assert_close(density.means[order], means, atol=0.1, rtol=0)
    drawn = density(torch.randn(6000, 2, generator=generator), torch.rand(6000, generator=generator))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.2, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.6, rtol=0.05)


@pytest.mark.parametrize("code", [0.0, 3.0, 1e6])
def test_a_mixture_of_equal_codes_draws_that_code(code):
    density = GaussianMixture(2, components=3)
    density.fit(torch.full((12, 2), code))
    drawn = density(torch.randn(50, 2), torch.rand(50))
    torch.testing.assert_close(drawn, torch.full((50, 2), code), atol=1e-4, rtol=1e-4)


def test_sampling_and_evaluating_use_the_fitted_prior(run, tmp_path):
    assert "3 components" in call("fit-prior", run.path, "--kind", "gmm", "--components", "3")
    assert (run.path / "priors" / "gmm.png").is_file()
    model = load_model(run)
    before = model.sample(200, torch.Generator().manual_seed(0))
    attach_prior(run, model, "gmm")
    assert len(model.density.weights) == 3
    assert not torch.equal(model.sample(200, torch.Generator().manual_seed(0)), before)
    call("sample", run.path, "-n", "4", "-o", tmp_path, "--prior", "gmm")
    call("evaluate", run.path, "--prior", "gmm")
    summary = run.read_summary()
    assert summary["priors"]["gmm"]["components"] == 3
    assert summary["evaluations"][-1]["protocol"]["eval/fid_classifier"]["prior"] == "gmm"
    assert summary["metrics"]  # nothing was overwritten


def test_any_encoder_decoder_can_have_a_prior_fitted(tmp_path):
    vae, _ = train_run(tmp_path / "vae", "model=vae", "networks=mlp", "trainer.max_steps=5")
    model = load_model(vae)
    assert model.density is None
    call("fit-prior", vae.path, "--components", "2")
    attach_prior(vae, model, "gmm")
    assert model.sample(3).shape == (3, 1, 8, 8)
    gan, _ = train_run(tmp_path / "gan", "model=gan", "networks=mlp", "trainer.max_steps=5")
    with pytest.raises(UserError, match=r"no encoder and so no codes: name a run of model=ae, .*, vae, "):
        call("fit-prior", gan.path)


@pytest.mark.parametrize("kind", ["two_stage", "flow"])
def test_sampling_fits_what_is_missing_and_keeps_it(run, tmp_path, kind, monkeypatch):
    options = {"steps": 20}
    monkeypatch.setitem(priors.KINDS, kind, partial(priors.KINDS[kind], **options))
    assert not (run.path / "priors" / f"{kind}.pt").exists()
    call("sample", run.path, "-n", "4", "-o", tmp_path / "first", "--prior", kind)
    assert run.read_summary()["priors"][kind]["codes"] == 1437
    monkeypatch.setattr(priors, "fitted_density", None)  # not fitted a second time
    call("sample", run.path, "-n", "4", "-o", tmp_path / "second", "--prior", kind)
    first, second = (Image.open(tmp_path / name / "grid.png").tobytes() for name in ("first", "second"))
    assert first == second
    call("sample", run.path, "-n", "4", "-o", tmp_path / "own", "--prior", "prior")
    assert Image.open(tmp_path / "own" / "grid.png").tobytes() != first


def test_four_columns_of_any_encoder_decoder(run):
    call("evaluate", run.path, "evaluation=rae", "evaluation.num_samples=300", "checkpoint=last")
    entry = run.read_summary()["evaluations"][-1]
    kinds = ("reconstruction", "prior", "gmm", "interpolation")
    *decoded, between = (entry["metrics"][f"eval/fid_classifier_{name}"] for name in kinds)
    assert len({*decoded, between}) == 4
    assert between > 1.1 * max(decoded)  # images half way between two digits are no digits
    assert entry["metrics"]["eval/fid_classifier_prior"] == entry["metrics"]["eval/fid_classifier"]
    assert entry["protocol"]["eval/fid_classifier_interpolation"]["images"] == "interpolations"
    hashes = {entry["protocol"][f"eval/fid_classifier_{name}"]["real_hash"] for name in ("gmm", "interpolation")}
    assert len(hashes) == 1


def test_a_prior_belongs_to_its_checkpoint(run):
    model = load_model(run)
    call("fit-prior", run.path, "--kind", "gaussian")
    model.images_seen += 1
    with pytest.raises(UserError, match="another checkpoint"):
        attach_prior(run, model, "gaussian")


def test_probe_puts_pca_and_pixels_beside_the_codes(run):
    text = call("probe", run.path)
    assert "PCA-2" in text
    results = run.read_summary()["probes"][-1]["results"]
    assert set(results) == {"codes", "PCA-2", "pixels"}
    assert results["pixels"]["nearest_neighbour"] == pytest.approx(0.986, abs=0.005)  # of the digits' 360
    call("probe", run.path, "--labels", "50")
    few = run.read_summary()["probes"][-1]
    assert few["protocol"]["labels"] == 50
    assert few["results"]["pixels"]["nearest_neighbour"] < results["pixels"]["nearest_neighbour"]


def test_pictures_of_codes_lie_in_the_run_directory(run):
    for folder in ("latents", "plane"):
        assert Image.open(run.path / folder / "step_00000060.png").size[0] > 300
    call("latents", run.path, "--projection", "pca")
    assert (run.path / "latents" / "best_pca.png").exists()


def test_a_scatter_has_the_colours_of_its_classes():
    points = torch.randn(
        400, 2, generator=torch.Generator().manual_seed(0)
    )  # many: colours are full where they overlap
    labels = torch.arange(400) % 2
    axes = ("x", "y")
    colours = {c for _, c in Scatter(points, "t", axes, labels, ("a", "b")).draw().getcolors(maxcolors=10**6)}
    one_class = {c for _, c in Scatter(points, "t", axes).draw().getcolors(maxcolors=10**6)}

    def has(seen, wanted):
        return any(all(abs(x - y) < 60 for x, y in zip(c, wanted, strict=True)) for c in seen)

    assert has(colours, (63, 144, 218))
    assert has(colours, (255, 169, 14))
    assert not has(one_class, (255, 169, 14))


def test_the_plane_spans_the_codes_with_the_second_growing_upwards():
    class Corner:
        device = torch.device("cpu")

        def decode(self, latents):
            return latents.view(-1, 2, 1, 1)

    codes = torch.rand(5000, 2)
    made = plane(Corner(), codes)
    images = made.images.view(PLANE_SIDE, PLANE_SIDE, 2)
    left, right, bottom, top = made.extent
    assert left + (right - left) / (2 * PLANE_SIDE) == pytest.approx(float(images[0, 0, 0]))  # codes in the middle
    assert top - (top - bottom) / (2 * PLANE_SIDE) == pytest.approx(float(images[0, 0, 1]))
    torch.testing.assert_close(images[0, 0], torch.tensor([0.01, 0.99]), atol=0.01, rtol=0)  # top left
    torch.testing.assert_close(images[-1, -1], torch.tensor([0.99, 0.01]), atol=0.01, rtol=0)


def test_samples_of_the_prior_stand_beside_those_of_a_mixture_of_the_codes():
    """Codes around 3: a decoder that shows the sign of a code is dark or bright on the left, and bright on the right."""

    class Sign(GenerativeModel):
        normal_prior = True

        def decode(self, latents):
            return (latents[:, :1] > 0).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8)

    model = Sign((1, 8, 8), latent_dim=2)
    codes = 3 + 0.1 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    made = latent_pictures(model, (codes, None), (), "pca")["priors"]
    means = made.images.view(8, 10, -1).mean(dim=-1)
    assert 0.3 < float(means[:, :5].mean()) < 0.7
    assert torch.equal(means[:, 5:], torch.ones(8, 5))
    assert model.density is None
    model.density = GaussianMixture(2)  # it samples from a fitted density already
    assert "priors" not in latent_pictures(model, (codes, None), (), "pca")


def test_projections():
    torch.manual_seed(0)
    wide = torch.cat([torch.randn(40, 5), torch.randn(40, 5) + 20])
    for kind in ("pca", "tsne"):
        points, axes = project(wide, kind)
        assert kind != "pca" or re.fullmatch(r"first principal component, 9\d % of the variance", axes[0])
        assert points.shape == (80, 2)
        apart = (points[:40].mean(0) - points[40:].mean(0)).norm()
        assert apart > 2 * points[:40].std(0).norm()  # two clusters stay two
    assert torch.equal(project(wide[:, :2], "tsne").points, wide[:, :2])
    with pytest.raises(UserError, match="pca, tsne, umap"):
        check_projection("nonsense")
