"""The Wasserstein autoencoder and its two divergences."""

import math

import pytest
import torch

from lightning_gen.config.build import build_data, build_model
from lightning_gen.config.compose import compose
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.objectives.divergences import inverse_multiquadratic, mmd
from lightning_gen.runs.loading import load_model
from tests.helpers import make_run, train_run


def test_the_kernel_sum_at_a_known_distance():
    """Z = 2, ||x - y||^2 = 4: C = 4 s, k = 4 s / (4 s + 4) = s / (s + 1)."""
    x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    assert float(inverse_multiquadratic(x, y, scales=(1.0,))) == pytest.approx(1 / 2)
    assert float(inverse_multiquadratic(x, y, scales=(1.0, 3.0))) == pytest.approx(1 / 2 + 3 / 4)
    assert float(inverse_multiquadratic(x, x, scales=(1.0, 3.0))) == 2


def test_mmd_of_two_points_a_side_in_closed_form():
    """On a line, s = 1/2, so C = 1 and k = 1 / (1 + d^2); x = {0, 1}, y = {0, 3}: k = 1/2, 1/10; 1, 1/10, 1/2, 1/5."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    expected = 1 / 2 + 1 / 10 - 2 * (1 + 1 / 10 + 1 / 2 + 1 / 5) / 4
    assert float(mmd(x, y, scales=(0.5,))) == pytest.approx(expected)


def test_mmd_is_unbiased_and_sees_a_shift():
    generator = torch.Generator().manual_seed(0)

    def draws(shift):
        pairs = torch.randn(400, 2, 20, 3, generator=generator)
        return torch.stack([mmd(x, y + shift) for x, y in pairs])

    same, shifted = draws(0.0), draws(1.0)
    assert abs(float(same.mean())) < 4 * float(same.std()) / math.sqrt(400)  # a biased one would be near 0.5
    assert float(shifted.mean()) > 10 * float(same.std()) / math.sqrt(400)


def test_the_gradient_at_equal_points_is_finite():
    x = torch.zeros(3, 2, requires_grad=True)
    mmd(x, torch.zeros(3, 2)).backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("divergence", ["mmd", "gan"])
def test_codes_come_to_the_prior(tmp_path, divergence):
    """Without it the codes' second moment is far from 1; the reconstruction still falls."""
    options = ("model=wae", f"model/divergence={divergence}", "networks=mlp", "model.latent_dim=2")
    options += ("networks.encoder.widths=[64]", "model.optimizer.lr=3e-3")
    options += ("dataset.batch_size=100", "trainer.max_steps=250")
    options += ("model.divergence.widths=[64,64]",) if divergence == "gan" else ()
    moments = {}
    for name, weight in (("without", 0), ("with", {"mmd": 50, "gan": 2}[divergence])):
        run, summary = train_run(tmp_path / name, *options, f"model.divergence.weight={weight}")
        model = load_model(run, "last")
        codes = model.encode(build_data(run.config).train.images / 255)
        moments[name] = float(codes.square().mean())
        assert summary["metrics"]["eval/squared_error"] < 3.7  # the mean image: 4.67
    assert abs(math.log(moments["with"])) < 0.35 < abs(math.log(moments["without"]))


@pytest.mark.parametrize("divergence", ["mmd", "gan"])
def test_lambda_is_that_of_the_authors_code(divergence):
    """tolstikhin/wae weighs the summed squared error by 0.05 (`l2sq`) and the divergence by 10 (`config_mnist`)."""
    config = compose(["model=wae", f"model/divergence={divergence}"]).model
    assert config.divergence.weight == pytest.approx(10 / 0.05)
    if divergence == "gan":
        assert list(config.divergence.widths) == [512] * 4
        assert [config.optimizer.lr, config.divergence.optimizer.lr] == [1e-3, 5e-4]
        assert [optimizer.betas[0] for optimizer in (config.optimizer, config.divergence.optimizer)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("model/penalty=r1",), "model/penalty=r1 needs a discriminator: set model/divergence=gan"),
        (("model/divergence=gan", "model/penalty=consistency"), "model/penalty=consistency works on images"),
    ],
)
def test_penalties_without_a_discriminator_that_they_suit(tmp_path, options, message):
    run = make_run(tmp_path / "run", "model=wae", "networks=mlp", *options)
    with pytest.raises(UserError, match=message):
        build_model(run.config, (1, 8, 8))


def test_the_discriminator_moves_alone_in_its_phase(tmp_path):
    run = make_run(tmp_path / "run", "model=wae", "model/divergence=gan", "networks=mlp")
    model = build_model(run.config, (1, 8, 8))
    batch = model.drawn(Batch(torch.rand(6, 1, 8, 8), None))
    loss = model.discriminator_loss(batch, 0)
    loss.backward()
    assert all(p.grad is not None for p in model.divergence.parameters())
    assert all(p.grad is None for module in model.averaged_modules().values() for p in module.parameters())
    real, fake = model.divergence(batch.prior), model.divergence(model.encode(batch.images))
    expected = (torch.nn.functional.softplus(-real) + torch.nn.functional.softplus(fake)).mean()
    torch.testing.assert_close(loss, expected)
