"""Metrics of tables: single columns, pairs of columns, and what classifiers say of whole rows.

A table is a tensor of columns, float64 [N, C]. `categories` has the number of categories of each column, and 0 for a
numeric column; a categorical column holds the numbers of its categories, 0, 1, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gen.data.tables import TableSchema
from lightning_gen.metrics.membership import Estimate, proportion

Categories = Sequence[int]
FOLDS = 5  # of a cross-validation
MOST_CATEGORIES = 255  # of a column that gradient-boosted trees treat as categorical
TREES: dict[str, Any] = {"max_iter": 50, "max_leaf_nodes": 8, "early_stopping": False}
"""Gradient-boosted trees (Friedman 2001): 0.1 seconds for 2,000 rows; more trees hardly change the scores."""


def columns_of(rows: Tensor, schema: TableSchema) -> Tensor:
    """Columns float64 [N, C] of encoded rows [N, width].

    Numbers are in the units of the data, rounded if the column has integers. A category is where its block of the row
    is largest.
    """
    array = rows.detach().cpu().double().numpy()
    parts = []
    for column, where in zip(schema.columns, schema.slices.values(), strict=True):
        block = array[:, where]
        parts.append(block.argmax(1) if column.values else column.decode(block))
    return torch.from_numpy(np.stack(parts, axis=1).astype(np.float64))


def marginals(fake: Tensor, real: Tensor, categories: Categories) -> Tensor:
    """How far each column's distribution is from that of real rows, float64 [C], from 0 (equal) to 1 (disjoint).

    For a numeric column, the two-sample statistic of Kolmogorov and Smirnov: the largest difference of the empirical
    distribution functions. For a categorical one, the total variation: half the sum of the differences of the
    frequencies. SDMetrics calls 1 minus these numbers KSComplement and TVComplement.

    Args:
        fake: columns of samples [N, C]. real: columns of real rows [M, C]. categories: see above.
    """
    distances = []
    for x, y, count in zip(fake.T.contiguous(), real.T.contiguous(), categories, strict=True):
        if count:
            p, q = (torch.bincount(side.long(), minlength=count).double() / len(side) for side in (x, y))
            distances.append((p - q).abs().sum() / 2)
        else:
            both = torch.cat([x, y])
            below = [torch.searchsorted(side.sort().values, both, right=True).double() / len(side) for side in (x, y)]
            distances.append((below[0] - below[1]).abs().max())
    return torch.stack(distances)


def associations(table: Tensor, categories: Categories) -> Tensor:
    """How strongly each two columns depend on each other, float64 [C, C], with 1 on the diagonal.

    - Two numeric columns: the correlation coefficient of Pearson (1895), from -1 to 1.
    - Two categorical columns: V of Cramér (1946, ch. 21), from 0 to 1, over the categories that occur.
    - One of each: the correlation ratio of Pearson (1905), from 0 to 1: the square root of the share of the numeric
      column's variance that lies between the categories.

    It is 0 where one of two columns is constant. All three come from the same sums: for standardized numeric columns
    and one-hot categories E [N, W], and G = E^T E / N, they are sums of G_ab^2 / (G_aa G_bb).

    Args:
        table: columns [N, C]. categories: see above.
    """
    encoded, owner = _encoded(table, categories)
    gram = encoded.T @ encoded / len(table)
    size = gram.diagonal()
    squares = torch.where(size[:, None] * size > 0, gram.square() / (size[:, None] * size), 0.0)
    member = torch.nn.functional.one_hot(owner, len(categories)).double()  # [W, C]
    total = member.T @ squares @ member
    seen = member.T @ (size > 0).double()  # [C]: categories that occur, or 1 for a numeric column that varies
    is_category = torch.tensor([count > 0 for count in categories])
    both, neither = is_category[:, None] & is_category, ~is_category[:, None] & ~is_category
    freedom = torch.minimum(seen[:, None], seen) - 1
    total = torch.where(both, torch.where(freedom > 0, (total - 1) / freedom.clamp_min(1), 0.0), total)
    size_of_effect = total.clamp(0, 1).sqrt()
    sign = (member.T @ gram @ member).sign()
    found = torch.where(neither, sign * size_of_effect, size_of_effect)
    return found.fill_diagonal_(1.0)


def _encoded(table: Tensor, categories: Categories) -> tuple[Tensor, Tensor]:
    """Standardized numeric columns and one-hot categories, [N, W], and the column of each, int64 [W]."""
    parts, owner = [], []
    for index, (column, count) in enumerate(zip(table.double().T, categories, strict=True)):
        if count:
            parts.append(torch.nn.functional.one_hot(column.long(), count).double())
        else:
            deviation = column.std(correction=0)
            varies = deviation > 1e-12 * column.abs().max()  # not only rounding errors
            parts.append(((column - column.mean()) / deviation if varies else torch.zeros_like(column))[:, None])
        owner += [index] * parts[-1].shape[1]
    return torch.cat(parts, dim=1), torch.tensor(owner)


def correlation_distance(fake: Tensor, real: Tensor) -> float:
    """The mean absolute difference of two matrices of `associations` [C, C] over all pairs of columns; 0 is best.

    Pairs of numeric columns count from 0 to 2, others from 0 to 1. It is 0 for a single column.
    """
    above = torch.triu_indices(len(fake), len(fake), offset=1)
    return float((fake - real)[above[0], above[1]].abs().mean()) if above.numel() else 0.0


def two_sample_test(fake: Tensor, real: Tensor, categories: Categories, seed: int = 0) -> Estimate:
    """Accuracy of gradient-boosted trees that tell samples from real rows; 0.5: they cannot, 1: always.

    The classifier two-sample test, C2ST, of Lopez-Paz & Oquab 2017, with five-fold cross-validation: each row is
    classified by trees that have not seen it. Trees suit tables better than the small network of the paper does. Both
    sides are cut to the same number of rows, at random.

    The interval is that of Clopper & Pearson (1934). Folds share training rows, so their results are dependent:
    Nadeau & Bengio (2003, sec. 3) multiply the variance of k folds by 1 + k / (k - 1). The number of rows is divided
    by that.

    Args:
        fake: columns of samples [N, C]. real: columns of real rows [M, C]. categories: see above.
        seed: draws the rows and the folds.

    Raises:
        ValueError: fewer than ten rows on one side.
    """
    n = min(len(fake), len(real))
    if n < 2 * FOLDS:
        raise ValueError(
            f"a two-sample test needs at least {2 * FOLDS} rows on each side, got {len(fake)} and {len(real)}"
        )
    generator = torch.Generator().manual_seed(seed)
    sides = [side[torch.randperm(len(side), generator=generator)[:n]] for side in (fake, real)]
    rows = torch.cat(sides).numpy()
    label, fold = np.repeat([0, 1], n), np.tile(np.arange(n) % FOLDS, 2)
    right = 0
    for index in range(FOLDS):
        train, test = fold != index, fold == index
        trees = _trees(False, categories, seed).fit(rows[train], label[train])
        right += int((trees.predict(rows[test]) == label[test]).sum())
    dependence = 1 + FOLDS / (FOLDS - 1)
    return proportion(right / dependence, 2 * n / dependence)


def score_on_real(train: Tensor, test: Tensor, categories: Categories, target: int, seed: int = 0) -> float:
    """How well trees that learn one column from the others in `train` predict it in `test`.

    With samples as `train` and held-out real rows as `test` it is TSTR, "train on synthetic, test on real" (Esteban
    et al. 2017); with real training rows, what it should reach.

    Args:
        train: columns [N, C]. test: columns [M, C]. categories: see above.
        target: the index of the column to predict.
        seed: of the trees.

    Returns:
        The accuracy, if the column is categorical. Otherwise R^2, the share of its variance that is explained: at
        most 1, and negative if always predicting the mean of `test` would have been better.
    """
    others = [index for index in range(train.shape[1]) if index != target]
    x, y, x_test, y_test = (
        part.numpy() for side in (train, test) for part in (side[:, others], side[:, target].double())
    )
    if categories[target] and len(np.unique(y)) == 1:  # which the trees refuse
        return float((y_test == y[0]).mean())
    kinds = [categories[index] for index in others]
    return float(_trees(categories[target] == 0, kinds, seed).fit(x, y).score(x_test, y_test))


def _trees(numeric: bool, categories: Categories, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier
    is_category = [0 < count <= MOST_CATEGORIES for count in categories]
    return kind(categorical_features=is_category, random_state=seed, **TREES)
