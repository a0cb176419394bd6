"""Metrics of tables against closed forms, scipy, and tables whose columns are known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import contingency, ks_2samp

from lightning_gen.data.tables import Column, TableSchema
from lightning_gen.metrics.memorization import Nearness, memorization
from lightning_gen.metrics.tables import (
    associations,
    columns_of,
    correlation_distance,
    marginals,
    score_on_real,
    two_sample_test,
)


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixed(n, seed=0):
    """A numeric column, a category that it decides, and another numeric column of twice its value plus noise."""
    x = normal(n, 2, seed)
    return torch.stack([x[:, 0], (x[:, 0] > 0).double(), 2 * x[:, 0] + x[:, 1]], dim=1)


KINDS = (0, 2, 0)


def test_a_row_is_split_into_numbers_and_the_largest_of_each_block():
    age = Column("age", "numeric", mean=40.0, std=10.0, integer=True)
    schema = TableSchema((age, Column("city", "categorical", ("a", "b", "c")), Column("x", "numeric")))
    rows = torch.tensor([[0.52, 0.1, 0.7, 0.2, -1.0], [2.0, 1.0, 0.0, 0.0, 3.0]])
    assert columns_of(rows, schema).tolist() == [[45, 1, -1], [60, 0, 3]]


def test_equal_tables_have_no_distance():
    table = mixed(500)
    assert marginals(table, table, KINDS).tolist() == [0, 0, 0]
    assert correlation_distance(associations(table, KINDS), associations(table, KINDS)) == 0


def test_the_largest_difference_of_two_uniform_distributions_is_the_shift_between_them():
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    assert marginals(grid + 0.3, grid, [0]).item() == pytest.approx(0.3, abs=2e-3)
    assert marginals(grid + 2, grid, [0]).item() == 1


def test_marginals_with_ties_and_unequal_sizes_are_those_of_scipy():
    x, y = normal(300, 1).round(decimals=1), normal(500, 1, seed=1).round(decimals=1) + 0.2
    assert marginals(x, y, [0]).item() == pytest.approx(ks_2samp(x[:, 0], y[:, 0]).statistic, abs=1e-12)


def test_total_variation_is_the_probability_that_would_have_to_move():
    x, y = torch.tensor([[0.0], [0], [1], [2]]), torch.tensor([[0.0], [1], [1], [1]])
    assert marginals(x, y, [4]).item() == 0.5


def test_associations_are_those_of_numpy_and_scipy_and_the_correlation_ratio():
    table = torch.cat([mixed(400), torch.arange(400)[:, None] % 3], dim=1)
    table[:200, 3] = table[:200, 1]
    x, category, y, other = table.numpy().T
    found = associations(table, (*KINDS, 5)).numpy()  # the last column has categories that do not occur
    assert found == pytest.approx(found.T)
    assert found.diagonal() == pytest.approx(np.ones(4))
    assert found[0, 2] == pytest.approx(np.corrcoef(x, y)[0, 1])
    counts = contingency.crosstab(category, other).count
    assert found[1, 3] == pytest.approx(contingency.association(counts, method="cramer"))
    means = [y[category == k].mean() for k in (0, 1)]
    between = sum((category == k).mean() * (mean - y.mean()) ** 2 for k, mean in enumerate(means))
    assert found[1, 2] == pytest.approx(math.sqrt(between / y.var()))


def test_a_constant_column_depends_on_nothing():
    table = mixed(50)
    table[:, 0], table[:, 1] = 0.1, 1
    torch.testing.assert_close(associations(table, KINDS), torch.eye(3, dtype=torch.float64))


def test_independent_columns_lose_exactly_the_correlation():
    # corr(x, 2x + e) = 2 / sqrt(5); a half-normal's mean is sqrt(2/pi), so the ratio of x on its sign is that too.
    table, independent = mixed(100_000), mixed(100_000)
    for index in range(3):
        shuffle = torch.randperm(len(table), generator=torch.Generator().manual_seed(index))
        independent[:, index] = independent[shuffle, index]
    ratio = math.sqrt(2 / math.pi)
    expected = (ratio + 2 / math.sqrt(5) * (1 + ratio)) / 3
    distance = correlation_distance(associations(independent, KINDS), associations(table, KINDS))
    assert distance == pytest.approx(expected, abs=0.01)
    assert marginals(independent, table, KINDS).max() == 0  # each column alone is right


def test_trees_cannot_tell_two_samples_of_one_distribution_apart():
    found = two_sample_test(mixed(1000), mixed(800, seed=1), KINDS)
    assert found.low <= 0.5 <= found.high
    assert found.value == pytest.approx(0.5, abs=0.04)
    assert found.high - found.low < 0.1


def test_the_interval_counts_the_folds_as_dependent():
    # Without that it covers the mean in 85 % of draws. The standard deviation of 400 rows on each side is 0.02.
    found = two_sample_test(normal(400, 4), normal(400, 4, seed=1), [0] * 4)
    independent = 1.96 * math.sqrt(0.25 / 800)
    assert (found.high - found.low) / 2 == pytest.approx(independent * math.sqrt(1 + 5 / 4), rel=0.05)


def test_trees_see_that_columns_do_not_belong_together():
    real, fake = mixed(1000), mixed(1000, seed=1)
    fake[:, 2] = fake[:, 2].roll(1)
    assert two_sample_test(fake, real, KINDS).low > 0.68


def test_trees_tell_shifted_rows_apart_at_the_best_rate():
    found = two_sample_test(normal(2000, 1) + 2, normal(2000, 1, seed=1), [0])
    assert found.value == pytest.approx(0.841, abs=0.02)  # Phi(1)
    with pytest.raises(ValueError, match="at least 10 rows"):
        two_sample_test(normal(9, 1), normal(20, 1), [0])


def test_a_category_is_learned_from_real_rows_and_not_from_shuffled_ones():
    train, test = mixed(600), mixed(400, seed=1)
    shuffled = torch.cat([train[:, :1], train[:, 1:2].roll(1, 0), train[:, 2:]], dim=1)
    assert score_on_real(train, test, KINDS, target=1) > 0.98
    assert score_on_real(shuffled, test, KINDS, target=1) == pytest.approx(0.5, abs=0.1)
    train[:, 1] = 1  # a generator that has lost a category
    assert score_on_real(train, test, KINDS, target=1) == float((test[:, 1] == 1).double().mean())


def test_the_share_of_explained_variance_is_the_closed_form():
    score = score_on_real(mixed(2000), mixed(1000, seed=1), KINDS, target=2)
    assert score == pytest.approx(4 / 5, abs=0.05)  # of the variance 5, the noise has 1


def test_a_copy_of_the_training_rows_is_closer_to_them_than_held_out_rows():
    train, held_out, fresh = normal(500, 6), normal(300, 6, seed=1), normal(300, 6, seed=2)
    floor = Nearness.of(held_out, train)
    copied, new = (memorization(Nearness.of(rows, train), floor) for rows in (train[:300], fresh))
    assert copied["nearest_train_ratio"] == 0
    assert copied["data_copying"] < -15
    assert new["nearest_train_ratio"] == pytest.approx(1, abs=0.1)
    assert abs(new["data_copying"]) < 3
