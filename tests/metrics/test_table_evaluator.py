"""What the evaluation of a table says of known samplers: fresh rows, training rows, and independent columns."""

import pytest
import torch

from lightning_gen.data.tables import Column, TableSchema
from lightning_gen.errors import NotFinite, UserError
from lightning_gen.metrics.table_evaluator import TableEvaluator

SCHEMA = TableSchema(
    (Column("x", "numeric"), Column("sign", "categorical", ("-", "+")), Column("y", "numeric")), "sign"
)


def rows(count, seed=0):
    x, noise = torch.randn(2, count, generator=torch.Generator().manual_seed(seed))
    sign = torch.nn.functional.one_hot((x > 0).long(), 2)
    return torch.cat([x[:, None], sign, (2 * x + noise)[:, None]], dim=1)[:, None, None]


def shuffled(table):
    """The same columns, each in an order of its own."""
    table = table.clone()
    for index, part in enumerate((slice(0, 1), slice(1, 3), slice(3, 4))):
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(index))
        table[..., part] = table[order][..., part]
    return table


@pytest.fixture(scope="module")
def evaluator():
    return TableEvaluator(SCHEMA, rows(400), rows(600, seed=1), num_samples=500)


@pytest.fixture(scope="module")
def measured(evaluator):
    sets = {"fresh": rows(500, seed=2), "copies": rows(600, seed=1)[:500], "independent": shuffled(rows(500, seed=2))}
    return {name: evaluator(lambda n, generator, found=found: found, ema=True)[0] for name, found in sets.items()}


def test_fresh_rows_are_as_close_as_training_rows_and_teach_as_much(measured):
    fresh = measured["fresh"]
    for name in ("marginals", "correlations", "energy_distance"):
        assert abs(fresh[f"eval/{name}"] - fresh[f"eval/{name}_floor"]) < 0.05
    assert fresh["eval/c2st_low"] <= 0.5 <= fresh["eval/c2st_high"]
    assert min(fresh["eval/tstr"], fresh["eval/tstr_real"]) > 0.97
    assert fresh["eval/nearest_train_ratio"] == pytest.approx(1, abs=0.15)


def test_a_copy_of_the_training_rows_is_told_by_its_distance_to_them_alone(measured):
    copies = measured["copies"]
    assert copies["eval/nearest_train_ratio"] == copies["eval/auth_pct"] == 0
    assert copies["eval/auth_pct_floor"] > 30
    assert copies["eval/c2st_low"] <= 0.5


def test_independent_columns_have_the_right_marginals_and_nothing_else(measured):
    fresh, independent = measured["fresh"], measured["independent"]
    assert independent["eval/marginals"] == fresh["eval/marginals"]
    assert independent["eval/correlations"] > 0.7
    assert independent["eval/c2st_low"] > 0.65
    assert independent["eval/tstr"] == pytest.approx(0.5, abs=0.15)


def test_probabilities_count_as_their_likeliest_category(evaluator, measured):
    soft = rows(500, seed=2)
    soft[..., 1:3] = 0.4 + 0.2 * soft[..., 1:3]
    values, protocols = evaluator(lambda n, generator: soft, ema=True)
    assert values == measured["fresh"]
    expected = {"n_fake": 500, "n_real": 400, "n_train": 600, "ema": True, "metric": "tstr"}
    assert expected.items() <= protocols["eval/tstr"].items()
    assert protocols["eval/tstr"]["settings"]["target"] == "sign"
    assert set(evaluator.pictures()) == {"marginals", "correlations"}
    for picture in evaluator.pictures().values():
        assert picture.draw("GAN on a table").width == 760


def test_without_a_target_nothing_is_predicted():
    evaluator = TableEvaluator(SCHEMA._replace(target=None), rows(20), rows(20, seed=1), num_samples=20)
    assert "eval/tstr" not in evaluator(lambda n, generator: rows(n))[0]


def test_what_cannot_be_measured_is_told(evaluator):
    with pytest.raises(NotFinite, match="a row drawn from the model is not finite"):
        evaluator(lambda n, generator: torch.full((n, 1, 1, 4), float("nan")))
    with pytest.raises(UserError, match=r"there are 30 and 9: .* dataset\.test_fraction"):
        TableEvaluator(SCHEMA, rows(9), rows(30), num_samples=500)
    with pytest.raises(UserError, match=r"evaluation\.num_samples=9"):
        TableEvaluator(SCHEMA, rows(30), rows(30), num_samples=9)
