"""A perfect code scores 1, a random one about 0; the sprites are what they claim to be."""

import pytest
import torch

from lightning_gen.data.sources.sprites import FACTORS, draw
from lightning_gen.metrics.disentanglement import dci, factor_vae_score, mutual_information_gap, sap


@pytest.fixture(scope="module")
def factors():
    return torch.cartesian_prod(*(torch.arange(count) for count in FACTORS.values()))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores(codes, factors):
    return {
        "mig": mutual_information_gap(codes, factors),
        **dci(codes, factors, trees=5),
        "sap": sap(codes, factors, categorical=[0]),
    }


def test_a_perfect_code_scores_one(factors):
    codes = torch.cat([-2 * factors.flip(1).float() + 1, 1e-3 * normal(len(factors), 2)], dim=1)
    codes = codes[:, [5, 0, 3, 1, 2, 6, 4]]
    for name, value in scores(codes, factors).items():
        assert value == pytest.approx(1, abs=0.02), name
    assert factor_vae_score(codes, factors) == 1.0


def test_a_random_code_scores_zero(factors):
    codes = normal(len(factors), 6)
    for name, value in scores(codes, factors).items():
        assert value == pytest.approx(0, abs=0.03), name
    assert factor_vae_score(codes, factors) == pytest.approx(1 / 5, abs=0.06)  # chance


def test_a_rotated_code_is_informative_but_entangled(factors):
    rotation = torch.linalg.qr(normal(5, 5))[0]
    scaled = (factors - factors.float().mean(0)) / factors.float().std(0)
    values = scores(scaled @ rotation, factors)
    assert values["dci_informativeness"] > 0.6
    assert values["dci_disentanglement"] < 0.5
    assert values["mig"] < 0.5
    assert values["sap"] < 0.6


def test_mig_by_hand():
    # Two binary factors; code 0 is factor 0, code 1 is noise-free XOR: I(c0; v0) = H(v0), nothing knows v1.
    factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(10, 1)
    codes = torch.stack([factors[:, 0], factors[:, 0] ^ factors[:, 1]], 1).float()
    assert mutual_information_gap(codes, factors) == pytest.approx(0.5)


def test_a_collapsed_code_does_not_win_the_vote(factors):
    codes = torch.cat([factors.float(), torch.zeros(len(factors), 1)], dim=1)
    assert factor_vae_score(codes, factors) == 1.0


def test_errors(factors):
    with pytest.raises(ValueError, match="codes"):
        mutual_information_gap(factors[:, :1].float(), factors)


def test_sprites_are_all_different_and_follow_their_factors():
    images, factors = draw(32)
    assert images.shape == (4608, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert len(images.flatten(1).unique(dim=0)) == 4608
    weight = images.float()[:, 0]
    total = weight.sum((1, 2))
    grid = torch.arange(32).float()
    column, row = (weight.sum(1) * grid).sum(1) / total, (weight.sum(2) * grid).sum(1) / total
    for name, centre in (("x", column), ("y", row)):
        values = factors[:, list(FACTORS).index(name)].float()
        assert torch.corrcoef(torch.stack([values, centre]))[0, 1] > 0.99
    scale = factors[:, list(FACTORS).index("scale")]
    areas = torch.stack([total[scale == value].mean() for value in range(FACTORS["scale"])])
    assert (areas.diff() > 0).all()
