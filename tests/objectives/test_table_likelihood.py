import math

import pytest
import torch
from torch.distributions import Categorical, Normal

from lightning_gen.data.tables import Column, TableSchema
from lightning_gen.errors import UserError
from lightning_gen.objectives.likelihoods import Gaussian
from lightning_gen.objectives.reconstruction import error_of_rows
from lightning_gen.objectives.table_likelihood import TableLikelihood
from lightning_gen.randomness import GeneratorNoise

TABLE = TableSchema(
    (
        Column("age", "numeric"),
        Column("city", "categorical", ("Bonn", "Rome", "Ulm")),
        Column("fixed", "numeric", std=0.0),
        Column("size", "numeric"),
    )
)
ROW = torch.tensor([0.5, 0, 1, 0, 0, -1.0]).view(1, 1, 1, 6)


@pytest.fixture
def likelihood():
    made = TableLikelihood(sigma=0.5)
    made.for_table(TABLE)
    return made


def test_each_column_has_its_distribution_and_a_constant_column_none(likelihood):
    raw = torch.randn(4, 2, 1, 1, 6, generator=torch.Generator().manual_seed(0))  # four draws for each of two rows
    rows = torch.cat([ROW, -ROW.abs() + 2 * ROW])
    rows[1, 0, 0, 1:4] = torch.tensor([0.0, 0.0, 1.0])
    flat = raw[..., 0, 0, :]
    expected = Categorical(logits=flat[..., 1:4]).log_prob(torch.tensor([1, 2]))
    for place in (0, 5):
        expected = expected + Normal(flat[..., place], 0.5).log_prob(rows[:, 0, 0, place])
    assert torch.allclose(likelihood.log_prob(raw, rows), expected, atol=1e-5)


def test_draws_have_the_mean_the_spread_and_the_odds_of_the_output(likelihood):
    raw = torch.tensor([2.0, math.log(1), math.log(2), math.log(5), 0.3, -1.0]).expand(20_000, 1, 1, 6)
    drawn = likelihood.draw(raw, GeneratorNoise(torch.Generator().manual_seed(0)))[:, 0, 0]
    assert drawn[:, 1:4].mean(0).tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)
    assert set(drawn[:, 1:4].sum(1).tolist()) == {1.0}
    assert drawn[:, [0, 5]].mean(0).tolist() == pytest.approx([2, -1], abs=0.02)
    assert drawn[:, [0, 5]].std(0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert set(drawn[:, 4].tolist()) == {raw[0, 0, 0, 4].item()}


def test_the_mean_of_the_output_of_a_mean_row_is_that_row(likelihood):
    mean_row = torch.tensor([0.0, 0.2, 0.3, 0.5, 0, 0.0]).view(1, 1, 6)
    assert torch.allclose(likelihood.mean(likelihood.output_of(mean_row)), mean_row)


def test_the_error_of_rows_is_squared_error_plus_cross_entropy():
    raw = torch.tensor([[1.0, 0.0, math.log(2), 0.0, 9.0, 0.0]])
    expected = 0.25 + 1 + math.log(2)  # (1 - 0.5)^2 + (0 + 1)^2, and a probability of 1/2
    assert error_of_rows(raw.view(1, 1, 1, 6), ROW, TABLE.numeric(), TABLE.blocks()).item() == pytest.approx(expected)


def test_likelihoods_of_images_and_of_tables_refuse_each_other():
    with pytest.raises(UserError, match=r"Gaussian is for images.*model/likelihood=table"):
        Gaussian().for_table(TABLE)
    with pytest.raises(UserError, match=r"model/likelihood=table is for rows of a table"):
        TableLikelihood().for_table(None)
