"""BiGAN: its encoder inverts its generator."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.bigan import BiGAN, pair
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives import adversarial
from lightning_gen.objectives.logit_penalties import Consistency
from lightning_gen.objectives.penalties import R1
from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, resume_run, train_run

POINTS = (1, 1, 2)


class Linear(nn.Module):
    """A generator of points, x = A z, and with `inverse` an encoder of the same class."""

    num_features = 2

    def __init__(self, inverse=False, **_):
        super().__init__()
        matrix = torch.tensor([[0.8, -0.3], [0.2, 0.5]])
        self.register_buffer("matrix", matrix.inverse() if inverse else matrix)

    def forward(self, x):
        return (x.flatten(1) @ self.matrix.T).view(-1, *POINTS)


def make(loss="NonSaturating", decoder=Linear, **options):
    torch.manual_seed(0)
    adam = partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.99))
    options = {
        "encoder": partial(MLPEncoder, widths=[64]),
        "latent_dim": 2,
        "hidden": 64,
        "output": "linear",
        **options,
    }
    model = BiGAN(
        POINTS,
        decoder=decoder,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        loss=getattr(adversarial, loss)(),
        **options,
    )
    model._trainer = SimpleNamespace(world_size=1, global_step=0)
    return model


def test_with_the_inverse_both_kinds_of_pairs_are_the_same_pairs():
    """So no discriminator does better than one that guesses: -log 4, or a divergence of 0 (their theorem 1)."""
    model = make()
    model.encoder = partial(Linear, inverse=True)()
    model.code = nn.Flatten()
    codes = torch.randn(2000, 2)
    images = model.generate(codes)
    real, fake = pair(images, model.encode(images)), pair(images, codes)
    torch.testing.assert_close(real, fake, atol=1e-6, rtol=0)
    logits = model.discriminator(fake).detach()
    assert float(adversarial.jensen_shannon(logits, logits)) < 0 < float(logits.std())


def test_the_encoder_comes_to_the_inverse_of_a_fixed_generator():
    model = make()
    players = [phase.optimizer() for phase in model.phases]
    before = error(model)
    for step in range(400):
        model._trainer.global_step = step
        model.begin_step()
        images = model.generate(torch.randn(256, 2))
        for phase, optimizer in zip(model.phases, players, strict=True):
            optimizer.zero_grad()
            phase.loss(Batch(images, None), step).backward()
            optimizer.step()
    assert error(model) < 0.2 < before


@torch.no_grad()
def error(model):
    """The mean squared distance of E(G(z)) from z; 1 for an encoder that says 0."""
    codes = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    return float((model.encode(model.generate(codes)) - codes).square().mean())


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("NonSaturating", lambda d, g: -g.sigmoid().log() - (1 - d.sigmoid()).log()),
        ("Minimax", lambda d, g: (1 - g.sigmoid()).log() + d.sigmoid().log()),
        ("LeastSquares", lambda d, g: 0.5 * ((g - 1) ** 2 + d**2)),
        ("Wasserstein", lambda d, g: d - g),
        ("RelativisticPaired", lambda d, g: (1 + (d - g).exp()).log()),
    ],
)
def test_each_side_wants_its_pairs_to_be_taken_for_the_others(loss, expected):
    """With d the logits of (x, E(x)) and g those of (G(z), z); least squares has the targets 1 and 0."""
    d, g = torch.randn(2, 50, dtype=torch.float64)
    torch.testing.assert_close(getattr(adversarial, loss)().inverse(d, g), expected(d, g))


def test_each_phase_moves_its_own_players():
    decoder = partial(MLPDecoder, widths=[8])
    model = make(decoder=decoder, penalty={"r1": R1(0.1)})
    parts = {"generator": [model.generator, model.encoder, model.code], "discriminator": [model.discriminator]}
    for phase in model.phases:
        model.zero_grad()
        phase.loss(Batch(torch.rand(6, *POINTS), None), 0).backward()
        for part in parts[phase.name]:
            assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    own = {id(p) for phase in model.phases for p in phase.optimizer().param_groups[0]["params"]}
    assert own == {id(p) for p in model.parameters()}


def test_a_penalty_of_images_is_refused():
    with pytest.raises(UserError, match="model/penalty=consistency works on images"):
        make(penalty={"consistency": Consistency(1.0)})


def test_it_is_evaluated_as_a_model_that_encodes_and_resumes_to_the_bit(tmp_path):
    options = ("model=bigan", "networks=mlp", "model/penalty=r1", "model.d_steps=2", "model/loss=relativistic_paired")
    whole, summary = train_run(tmp_path / "whole", *options, "trainer.max_steps=5")
    train_run(tmp_path / "parts", *options, "trainer.max_steps=3")
    parts, _ = resume_run(tmp_path / "parts", 5)
    for part in ("state_dict", "optimizer_states"):
        assert_same(whole.read_checkpoint()[part], parts.read_checkpoint()[part])
    assert {"eval/reconstruction_mse", "eval/fid_classifier"} <= summary["metrics"].keys()
    assert load_model(whole, "last").encode(torch.rand(3, 1, 8, 8)).shape == (3, 50)
    assert (tmp_path / "whole" / "reconstructions" / "step_00000005.png").is_file()
