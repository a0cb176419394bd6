"""VAEs in short trainings: their test likelihood, what they say of the data, resuming."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from lightning_gen.commands.evaluate import evaluate_run
from lightning_gen.errors import UserError
from lightning_gen.training.train import prepare
from tests.helpers import assert_same, make_run, resume_run, train_run

VAE = ("model=vae", "networks=mlp", "networks.encoder.widths=[16]", "model.latent_dim=3")


def test_the_test_likelihood_is_measured_once_at_the_end(tmp_path):
    nll = ("evaluation.nll.k=20", "evaluation.nll.images=10", "evaluation.every_n_steps=2")
    run, summary = train_run(tmp_path / "run", *VAE, *nll, "model/likelihood=categorical", "trainer.max_steps=4")
    metrics, protocol = summary["metrics"], summary["protocol"]["eval/nll"]
    assert (protocol["k"], protocol["n_real"], protocol["method"]) == (20, 10, "importance")
    assert 0 < metrics["eval/nll_standard_error"] < 0.2 * metrics["eval/nll"]
    assert metrics["eval/nll_bits_per_dim"] == pytest.approx(metrics["eval/nll"] / 64 / 0.6931472, rel=1e-5)
    values = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()]
    column = values[0].index("eval/nll")
    assert [row[0] for row in values[1:] if row[column]] == ["4"]
    # From the checkpoint alone, the same number
    entry = evaluate_run(run.path, ["checkpoint=last"])
    assert entry["metrics"]["eval/nll"] == pytest.approx(metrics["eval/nll"], rel=1e-6)
    by_annealing = ["checkpoint=last", "evaluation.nll.method=ais", "evaluation.nll.temperatures=3"]
    by_annealing += ["evaluation.nll.chains=2"]
    assert evaluate_run(run.path, by_annealing)["protocol"]["eval/nll"]["temperatures"] == 3
    both = evaluate_run(run.path, ["evaluation.nll.method=bidirectional", *by_annealing[2:], by_annealing[0]])
    found, drawn = both["metrics"], both["protocol"]["eval/nll_simulated_gap"]
    gap = found["eval/nll_simulated_ais"] - found["eval/nll_simulated_reverse_ais"]
    assert found["eval/nll_simulated_gap"] == pytest.approx(gap)
    assert drawn["images"] == "10 images drawn from the model"


def test_other_models_have_no_test_likelihood(tmp_path):
    options = ("model=ae", "networks=mlp", "evaluation.nll.k=5", "trainer.max_steps=2")
    assert "eval/nll" not in train_run(tmp_path / "run", *options)[1]["metrics"]


@pytest.mark.parametrize(
    "options",
    [
        (
            "model/likelihood=optimal_gaussian",
            "model/prior=vamp",
            "model.prior.components=20",
            "model/objective=iwae",
        ),
        (
            "conditional=true",
            "model/posterior=iaf",
            "model/objective=cyclic",
            "model.objective.beta.images=[0,40,80]",
        ),
        ("model/prior=flow", "model/objective=info_vae", "model.output_bias=data_mean"),
    ],
)
def test_resume_is_bit_identical(tmp_path, options):
    straight, _ = train_run(tmp_path / "straight", *VAE, *options, "trainer.max_steps=7")
    train_run(tmp_path / "resumed", *VAE, *options, "trainer.max_steps=4")
    resumed, _ = resume_run(tmp_path / "resumed", 7)
    for part in ("state_dict", "optimizer_states"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])


def test_a_cross_entropy_of_grey_values_is_no_likelihood(tmp_path, capsys):
    """The warning names the floor: what a decoder that gives the greys themselves would have."""
    options = (*VAE, "model/likelihood=bernoulli", "model.likelihood.binarize=false")
    parts = prepare(make_run(tmp_path / "grey", *options))
    said = capsys.readouterr().err
    greys = parts.data.test.images / 255
    floor = binary_cross_entropy(greys, greys, reduction="none").flatten(1).sum(dim=1).mean().item()
    assert f"{floor:.2f} nats" in said
    assert "model.likelihood.binarize=true" in said
    prepare(make_run(tmp_path / "binary", *options, "dataset.binarize=static"))
    prepare(make_run(tmp_path / "drawn", *options[:-1]))
    assert "warning" not in capsys.readouterr().err


@pytest.mark.data
def test_the_floor_of_grey_mnist(tmp_path, capsys, data_root):
    options = (*VAE, "model/likelihood=bernoulli", "model.likelihood.binarize=false", f"dataset.root={data_root}")
    prepare(make_run(tmp_path / "run", *options, "dataset=mnist"))
    assert "below 45.53 nats" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("model/likelihood=categorical", "dataset.dequantize=true"), "dequantize=false"),
        (("model/likelihood=bernoulli", "dataset=gaussians"), "likelihood=gaussian"),
        (("model/prior=vamp", "model.prior.components=2000"), "1437 training images"),
        (("evaluation.nll.k=10", "evaluation.nll.method=exact"), "importance, ais or bidirectional"),
        (("evaluation.nll.k=10", "evaluation.nll.images=0"), r"nll.images=0"),
        (("model/objective=iwae", "model.objective.samples=0"), r"objective.samples=0 must be"),
        (("model.output_bias=mean",), "output_bias=mean must be default or data_mean"),
        (("model/objective=dreg", "model/likelihood=optimal_gaussian"), "likelihood=gaussian"),
    ],
)
def test_mistakes_are_told_before_training(tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        prepare(make_run(tmp_path / "run", *VAE, *options))


def test_pseudo_inputs_and_the_bias_start_from_the_training_images(tmp_path):
    options = (
        "model/prior=vamp",
        "model.prior.components=20",
        "model/likelihood=bernoulli",
        "model.output_bias=data_mean",
    )
    parts = prepare(make_run(tmp_path / "run", *VAE, *options))
    pseudo = parts.model.prior.pseudo_inputs.flatten(1)
    images = (parts.data.train.images / 255).clamp(0.01, 0.99).flatten(1)
    assert torch.cdist(pseudo, images).amin(dim=1).max() < 0.01
    mean = (parts.data.train.images / 255).mean(dim=0).flatten()
    torch.testing.assert_close(parts.model.decoder.net[-2].bias.sigmoid(), mean.clamp(0.001, 0.999))
