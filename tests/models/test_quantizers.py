"""Finite scalar quantization and residual codebooks, alone and in a VQ-VAE."""

import itertools
import math

import pytest
import torch

from lightning_gen.config.build import build_data, build_model
from lightning_gen.data.loader import Batch
from lightning_gen.models.quantizers import FSQ, ResidualQuantizer
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.loading import load_model
from tests.helpers import make_run, train_run

OPTIONS = ("model=vqvae", "model.prior.width=16", "model.prior.depth=1", "networks.encoder.width=8")
PUBLISHED = {8: [8, 6, 5], 10: [8, 5, 5, 5], 12: [7, 5, 5, 5, 5], 14: [8, 8, 8, 6, 5], 16: [8, 8, 8, 5, 5, 5]}


@pytest.mark.parametrize(("bits", "levels"), PUBLISHED.items())
def test_the_published_levels_have_about_as_many_codes_as_a_codebook(bits, levels):
    """Mentzer et al. 2023, table 1: 240, 1000, 4375, 15360 and 64000 codes."""
    fsq = FSQ(levels)
    assert fsq.num_codes == {8: 240, 10: 1000, 12: 4375, 14: 15360, 16: 64000}[bits]
    vectors = fsq(torch.arange(fsq.num_codes))
    assert len(vectors.unique(dim=0)) == fsq.num_codes
    assert vectors.abs().max() == 1


def test_codes_of_fsq_go_to_vectors_and_back():
    fsq = FSQ([8, 5, 4])
    codes = torch.arange(fsq.num_codes)
    vectors = fsq(codes)
    assert torch.equal(fsq.indices((vectors * fsq.halves).round()), codes)
    torch.testing.assert_close(fsq.snapped(vectors + 0.05), vectors)
    outside = torch.tensor([[5.0, 5.0, 5.0], [-5.0, -5.0, -5.0]])
    torch.testing.assert_close(fsq.snapped(outside), torch.tensor([[0.75, 1.0, 0.5], [-1.0, -1.0, -1.0]]))


def test_fsq_rounds_as_the_authors_code():
    """Their notebook's example, levels 3, 5 and 4: (0.25, 0.6, -7) goes to (0, 0.5, -1), which has the index 9."""
    fsq = FSQ([3, 5, 4])
    outputs = torch.tensor([[0.25, 0.6, -7.0]])
    assert fsq(fsq.nearest(outputs)).tolist() == [[0.0, 0.5, -1.0]]
    assert fsq.nearest(outputs).tolist() == [1 + 3 * 3]


def test_every_value_of_fsq_is_reached_and_none_beyond():
    fsq = FSQ([7, 8])
    outputs = torch.linspace(-20, 20, 4001).unsqueeze(1).expand(-1, 2)
    found = fsq(fsq.nearest(outputs))
    assert [len(column.unique()) for column in found.T] == [7, 8]


def test_the_gradient_of_fsq_passes_straight_through_the_rounding():
    """d (rounded / halves) / d output = d tanh(output + shift) half / halves."""
    fsq = FSQ([5, 4])
    outputs = torch.randn(6, 2, requires_grad=True)
    vectors, commitment, _ = fsq.quantized(outputs, StepNoise(0))
    torch.testing.assert_close(vectors, fsq(fsq.nearest(outputs)))
    assert commitment == 0
    (found,) = torch.autograd.grad(vectors.sum(), outputs)
    half = torch.tensor([4.0, 3.0]) * 0.999 / 2
    shift = torch.tensor([0.0, math.tan(0.5 / float(half[1]))])
    expected = (1 - (outputs + shift).tanh().square()) * half / 2
    torch.testing.assert_close(found, expected.detach())


def residual(depth):
    return ResidualQuantizer(depth, 16, 3, decay=0.9, revive_after=10, commitment=0.25)


def test_the_error_of_residual_codebooks_falls_with_each():
    torch.manual_seed(0)
    quantizer, noise, outputs = residual(4), StepNoise(0), torch.randn(500, 3)
    for step in range(30):
        noise.start(step)
        quantizer.quantized(outputs, noise)
    vectors = [book(code) for book, code in zip(quantizer.codebooks, quantizer.nearest(outputs).T, strict=True)]
    errors = [float((outputs - sum(vectors[: depth + 1])).square().mean()) for depth in range(4)]
    assert all(after < 0.6 * before for before, after in itertools.pairwise(errors))
    torch.testing.assert_close(quantizer(quantizer.nearest(outputs)), sum(vectors))


def test_residual_codes_are_those_of_one_codebook_after_the_other():
    torch.manual_seed(0)
    quantizer, outputs = residual(2), torch.randn(50, 3)
    first, second = quantizer.codebooks
    codes = quantizer.nearest(outputs)
    assert codes.shape == (50, 2)
    nearest = torch.cdist(outputs, first.vectors).argmin(dim=1)
    left = outputs - first.vectors[nearest]
    assert torch.equal(codes, torch.stack([nearest, torch.cdist(left, second.vectors).argmin(dim=1)], dim=1))


def test_the_gradient_of_residual_codebooks():
    """Straight through, and 2 (E - e_d) from each partial sum e_d in the commitment loss."""
    torch.manual_seed(0)
    quantizer, noise = residual(3), StepNoise(0)
    outputs = torch.randn(40, 3, requires_grad=True)
    quantizer.quantized(outputs, noise)  # moves the vectors to the outputs
    books = [book.vectors.clone() for book in quantizer.codebooks]
    codes = quantizer.nearest(outputs)
    vectors, commitment, _ = quantizer.quantized(outputs, noise)
    weights = torch.randn(40, 3)
    (passed,) = torch.autograd.grad((weights * vectors).sum(), outputs)
    torch.testing.assert_close(passed, weights)
    (found,) = torch.autograd.grad(commitment, outputs)
    sums = torch.stack([book[code] for book, code in zip(books, codes.T, strict=True)]).cumsum(dim=0)
    torch.testing.assert_close(vectors, sums[-1])
    torch.testing.assert_close(found, 2 * (outputs - sums).sum(dim=0).detach())


@pytest.mark.parametrize("quantizer", ["ema", "fsq", "residual"])
def test_a_prior_of_each_quantizer(tmp_path, quantizer):
    """The uniform prior has h w depth log K nats; after training less; its samples are codes."""
    choices = (f"model/quantizer={quantizer}",)
    choices += ("model.quantizer.levels=[5,4]",) if quantizer == "fsq" else ("model.quantizer.num_codes=20",)
    choices += ("model.quantizer.depth=2",) if quantizer == "residual" else ()
    model = build_model(make_run(tmp_path / "made", *OPTIONS, *choices).config, (1, 8, 8))
    uniform = model.prior_nll(Batch(torch.rand(3, 1, 8, 8), None)).detach()
    tokens = 4 * (2 if quantizer == "residual" else 1)
    torch.testing.assert_close(uniform, torch.full((3,), tokens * math.log(20)))
    run, summary = train_run(tmp_path / "run", *OPTIONS, *choices, "trainer.max_steps=60", "model.prior_steps=30")
    assert summary["metrics"]["eval/prior_nll"] < 0.95 * float(uniform[0])
    model, images = load_model(run, "last"), build_data(run.config).test.images[:5] / 255
    latents = model.sample_latents(6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.flattened(model.codebook.snapped(model.rows(latents))), latents)
    codes = model.encode(images)
    expected = model.decoder(codes).sigmoid()  # codes are not quantized twice
    torch.testing.assert_close(model.decode(codes), expected)
