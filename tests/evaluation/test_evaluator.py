"""One call measures everything of a model, each number with its protocol."""

import pytest
import torch

from lightning_gen.config.build import build_data, build_model
from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.evaluation import held_out
from lightning_gen.evaluation.build import build_evaluator
from lightning_gen.evaluation.evaluator import Report
from lightning_gen.metrics.probing import PCA
from tests.helpers import QUICK


def evaluator_and_model(*overrides):
    config = compose([*QUICK, "networks=mlp", *overrides])
    data = build_data(config)
    torch.manual_seed(0)
    model = build_model(config, data.image_shape, data.table).eval()
    model.see_data(data, fresh=True)
    return build_evaluator(config, data, torch.device("cpu")), model


def test_everything_of_an_encoder_has_a_protocol_and_pictures():
    evaluator, model = evaluator_and_model(
        "model=vae", "evaluation.metrics=[fid,memorization,reconstruction,rae]", "evaluation.projection=pca"
    )
    report = evaluator(model, ema=False, step=7)
    expected = {"eval/elbo", "eval/fid_classifier", "eval/auth_pct", "eval/psnr", "eval/fid_classifier_gmm"}
    assert expected <= report.metrics.keys()
    assert report.protocols.keys() == report.metrics.keys()
    context = {"evaluation": "quick", "batch_norm": "running statistics", "ema": False, "step": 7}
    assert all(context.items() <= protocol.items() for protocol in report.protocols.values())
    assert report.protocols["eval/reconstruction_mse"]["n_real"] == 360  # the model's own: of all held-out images
    assert report.protocols["eval/psnr"]["n_real"] == 20
    assert report.pictures.keys() == {"neighbours"}
    assert {"samples", "reconstructions", "interpolations", "latents"} <= evaluator.draw(model).keys()


def test_a_models_own_metrics_are_of_the_same_random_images_each_time():
    overrides = ("model=ae", "evaluation.projection=pca")
    evaluator, model = evaluator_and_model(*overrides, "evaluation.held_out=30")
    first, again = (evaluator(model) for _ in range(2))
    assert first.metrics == again.metrics
    protocol = first.protocols["eval/squared_error"]
    assert (protocol["n_real"], protocol["seed"]) == (30, 0)
    codes, labels = first.codes
    assert len(codes) == len(labels) == 30
    images = evaluator.data.test.images[evaluator.held_out.chosen].float() / 255
    expected = (model.reconstruct(images) - images).square().flatten(1).sum(dim=1).mean()
    assert first.metrics["eval/squared_error"] == pytest.approx(float(expected), rel=1e-5)
    other = evaluator_and_model(*overrides, "evaluation.held_out=30", "evaluation.seed=1")[0].held_out.chosen
    assert not torch.equal(other, evaluator.held_out.chosen)


def test_all_held_out_images_have_one_protocol_however_they_are_asked_for():
    found = []
    for option in ("evaluation.held_out=null", "evaluation.held_out=360", "evaluation.held_out=5000"):
        evaluator, model = evaluator_and_model("model=ae", option)
        found.append(evaluator.held_out(model, {}))
    assert found[0] == found[1] == found[2]
    assert "seed" not in found[0][1]["eval/squared_error"]


def test_the_same_model_gives_the_same_numbers_whatever_was_drawn_before():
    evaluator, model = evaluator_and_model("model=gan")
    first = evaluator(model).metrics
    torch.rand(7)
    assert evaluator(model).metrics == first


def test_the_likelihood_is_measured_when_it_is_asked_for():
    evaluator, model = evaluator_and_model("model=vae", "evaluation.nll.k=3", "evaluation.nll.images=5")
    assert "eval/nll" not in evaluator(model).metrics
    metrics, protocols = evaluator.measure_likelihood(model, step=7)
    assert {"eval/nll", "eval/nll_standard_error"} <= metrics.keys() == protocols.keys()
    assert {"k": 3, "n_real": 5, "step": 7}.items() <= protocols["eval/nll"].items()
    evaluator, model = evaluator_and_model("model=gan", "evaluation.nll.k=3")
    assert evaluator.measure_likelihood(model) == ({}, {})  # it has no densities


def test_points_are_compared_without_features():
    evaluator, model = evaluator_and_model("model=gan", "dataset=gaussians", "dataset.num_points=200")
    report = evaluator(model)
    assert {"eval/energy_distance", "eval/modes_found"} <= report.metrics.keys()
    assert evaluator.distance_name() == "eval/energy_distance"


def test_rows_of_a_table_are_compared_by_their_columns_and_by_classifiers():
    table = ("dataset=table", "dataset.path=sklearn:iris", "evaluation.num_samples=40")
    evaluator, model = evaluator_and_model("model=gan", *table)
    report = evaluator(model, step=7)
    assert {"eval/marginals", "eval/correlations", "eval/c2st", "eval/tstr"} <= report.metrics.keys()
    assert {"n_real": 30, "n_train": 120, "step": 7}.items() <= report.protocols["eval/tstr"].items()
    assert report.pictures.keys() == {"marginals", "correlations"}
    assert evaluator.distance_name() == "eval/energy_distance"
    with pytest.raises(UserError, match="dataset=table has no images"):
        evaluator_and_model("model=gan", *table, "+evaluation.metric.mine=1")
    with pytest.raises(UserError, match="kidd does not exist"):
        evaluator_and_model("model=gan", *table, "evaluation.metrics=[kidd]")


def test_a_report_keeps_the_first_number_of_a_name():
    report = Report()
    report.add(({"eval/a": 1.0}, {"eval/a": {"n": 1}}))
    report.add(({"eval/a": 2.0, "eval/b": 3.0}, {"eval/a": {"n": 2}, "eval/b": {"n": 2}}))
    assert report.metrics == {"eval/a": 1.0, "eval/b": 3.0}
    assert report.protocols == {"eval/a": {"n": 1}, "eval/b": {"n": 2}}


def test_the_distance_must_be_measured_to_be_watched():
    assert evaluator_and_model("model=gan")[0].distance_name() == "eval/fid_classifier"
    with pytest.raises(UserError, match="needs fid in"):
        evaluator_and_model("model=gan", "evaluation.metrics=[kid]")[0].distance_name()


def test_principal_components_are_fitted_once_a_width_and_data_set(tmp_path, monkeypatch):
    fitted = []
    monkeypatch.setattr(held_out, "PCA", lambda images, width: fitted.append(width) or PCA(images, width))
    options = ("model=ae", "model.latent_dim=3", f"evaluation.cache_dir={tmp_path}")
    errors = []
    for _ in range(2):
        evaluator, model = evaluator_and_model(*options)
        errors += [evaluator.held_out(model, {})[0]["eval/squared_error_pca"] for _ in range(2)]
    assert set(errors) == {PCA(evaluator.data.train.images, 3).squared_error(evaluator.data.test.images)}
    assert fitted == [3]
    evaluator_and_model(*options, "dataset.limit=700")[0].held_out.pca_error(3)
    assert fitted == [3, 3]


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=ae",),
        ("model=ae", "model/corruption=masking", "model/regularizer=contractive"),
        ("model=vae",),
        ("model=wae",),
        ("model=gan", "conditional=true"),
        ("model=bigan",),
        ("model=vae_gan",),
        ("model=vqgan", "networks=vq"),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_training_images_are_measured_exactly_as_held_out_ones(overrides):
    evaluator, model = evaluator_and_model(*overrides)
    evaluator.data.train = evaluator.data.test
    with torch.no_grad():
        values, protocols = held_out.HeldOut(evaluator.data)(model, {})
    seen = [name for name in values if name.endswith("_train")]
    assert seen
    assert [values[name] for name in seen] == [values[name.removesuffix("_train")] for name in seen]
    assert all(protocols[name]["images"] == "training images" for name in seen)
    assert values.get("eval/logits_gap", 0.0) == 0.0


def test_as_many_training_as_held_out_images_are_measured():
    evaluator, model = evaluator_and_model("model=vae", "evaluation.held_out=30")
    protocols = evaluator.held_out(model, {})[1]
    assert [protocols[f"eval/{name}"]["n_real"] for name in ("loss", "loss_train")] == [30, 30]
    evaluator, model = evaluator_and_model("model=vae", "evaluation.held_out=30", "dataset.limit=16")
    protocols = evaluator.held_out(model, {})[1]
    assert [protocols[f"eval/{name}"]["n_real"] for name in ("loss", "loss_train")] == [30, 16]  # there are no more


def test_an_evaluation_of_private_training_measures_nothing_on_training_images():
    evaluator, model = evaluator_and_model("model=vae")
    with torch.no_grad():
        values = held_out.HeldOut(evaluator.data, of_training=False)(model, {})[0]
    assert "eval/loss" in values
    assert not [name for name in values if name.endswith(("_train", "_pca"))]
