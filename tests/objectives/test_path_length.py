"""Path-length regularization of linear generators, whose path lengths are known."""

import pytest
import torch

from lightning_gen.objectives.path_length import PathLength
from lightning_gen.objectives.penalties import GeneratorPass
from lightning_gen.randomness import StepNoise
from tests.helpers import assert_same, resume_run, train_run

STYLEGAN2 = (
    "model=gan",
    "networks=stylegan2",
    "networks.encoder.channel_base=128",
    "networks.encoder.channel_max=8",
    "networks.decoder.style_dim=8",
    "model.latent_dim=4",
    "networks.decoder.noise=fresh",
    "networks.decoder.style_mixing=0.9",
    "model/penalty=[r1,path_length]",
    "model.penalty.path_length.interval=2",
)


def seen(matrix, count=4):
    """A generator of images [3, 4, 4] that are linear in the styles of two layers of five dimensions each."""
    styles = torch.randn(count, 2, 5, dtype=torch.float64).requires_grad_()
    images = lambda w: (w.flatten(1) @ matrix.T).view(-1, 3, 4, 4)  # noqa: E731
    return GeneratorPass(styles.detach().flatten(1), lambda codes: styles[: len(codes)], images, StepNoise(0))


def test_the_length_of_a_linear_generator():
    """The root mean square over layers of A^T y, with y ~ N(0, I) over the root of 16 pixels."""
    torch.manual_seed(0)
    matrix = torch.randn(48, 10, dtype=torch.float64)
    y = StepNoise(0).normal((4, 3, 4, 4), torch.device("cpu")).double().flatten(1) / 4
    lengths = (y @ matrix).view(4, 2, 5).square().sum(dim=2).mean(dim=1).sqrt()
    penalty = PathLength(weight=3.0, share=1.0).double()
    torch.testing.assert_close(penalty(seen(matrix)).detach(), 3 * (lengths - 0.01 * lengths.mean()).square())
    assert float(penalty.mean_length) == pytest.approx(0.01 * float(lengths.mean()))
    second = penalty(seen(matrix))
    torch.testing.assert_close(second.detach(), 3 * (lengths - (0.01 + 0.99 * 0.01) * lengths.mean()).square())


def test_the_expected_squared_length_is_the_norm_of_the_jacobian():
    """E ||A^T y||^2 = ||A||_F^2 / 16, here a half of it for the mean over two layers; 20,000 draws."""
    torch.manual_seed(0)
    matrix = torch.randn(48, 10, dtype=torch.float64)
    values = PathLength(weight=1.0, share=1.0, decay=1e-9).double()(seen(matrix, count=20_000))
    assert float(values.detach().mean()) == pytest.approx(float(matrix.square().sum()) / 16 / 2, rel=0.02)


def test_a_generator_whose_lengths_are_the_mean_pays_nothing():
    penalty = PathLength(share=1.0, decay=1.0).double()
    matrix = torch.eye(48, 10, dtype=torch.float64)
    one = seen(matrix, count=1)
    assert float(penalty(one).detach().max()) < 1e-20


def test_it_trains_with_mixed_styles_and_fresh_noise_and_resumes_to_the_bit(tmp_path):
    whole, summary = train_run(tmp_path / "whole", *STYLEGAN2, "trainer.max_steps=5")
    train_run(tmp_path / "parts", *STYLEGAN2, "trainer.max_steps=3")
    parts, _ = resume_run(tmp_path / "parts", 5)
    for part in ("state_dict", "optimizer_states"):
        assert_same(whole.read_checkpoint()[part], parts.read_checkpoint()[part])
    state = whole.read_checkpoint()["state_dict"]
    assert float(state["penalty.path_length.mean_length"]) > 0
    assert {"train/penalty_path_length", "train/penalty_r1"} <= summary["metrics"].keys()
