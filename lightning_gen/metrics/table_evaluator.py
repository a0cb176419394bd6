"""Compares the rows of a table that a model draws with real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_gen.data.tables import TableSchema
from lightning_gen.errors import NotFinite, UserError
from lightning_gen.files import content_hash
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.memorization import Nearness, memorization
from lightning_gen.metrics.points import MOST_POINTS, energy_distance
from lightning_gen.metrics.protocol import Numbers, numbers
from lightning_gen.metrics.tables import (
    FOLDS,
    TREES,
    associations,
    columns_of,
    correlation_distance,
    marginals,
    score_on_real,
    two_sample_test,
)
from lightning_gen.pictures import Picture
from lightning_gen.pictures.table_charts import Correlations, Marginals
from lightning_gen.progress import progress
from lightning_gen.randomness import Stream, mix


class TableEvaluator:
    """Compares rows that a model draws with held-out rows: single columns, pairs of columns, and whole rows.

    - ``marginals``: the mean distance of the columns' distributions; ``correlations``: that of their associations.
    - ``energy_distance``: of encoded rows, with a distance of sqrt(2) between two categories.
    - ``c2st``: the accuracy of trees that tell samples from held-out rows, with ``c2st_low`` and ``c2st_high``.
    - ``tstr``: the score, on held-out rows, of trees that learn the target from samples; ``tstr_real``: from as many
      training rows. Left out if the table has no target.
    - ``nearest_train_ratio`` and the rest of ``memorization``, by the distance of encoded rows.

    The first three also have a ``_floor``: the number for training rows in place of samples.

    Args:
        schema: the columns.
        reference: held-out rows, float [M, 1, 1, width].
        train: all training rows [T, 1, 1, width].
        num_samples: the number of samples, and the largest number of real rows in a comparison.
        seed: the seed of the samples and of the random subsets.
        split: the name of the reference's split, for the protocol.

    Raises:
        UserError: too few rows for a two-sample test, or more than MOST_POINTS samples.
    """

    distance_name = "eval/energy_distance"

    def __init__(
        self,
        schema: TableSchema,
        reference: Tensor,
        train: Tensor,
        *,
        num_samples: int,
        seed: int = 0,
        split: str = "test",
    ) -> None:
        self.schema, self.num_samples, self.seed, self.split = schema, num_samples, seed, split
        self._check(len(reference), len(train))
        self.categories = [len(column.values) for column in schema.columns]
        self.target = next((i for i, column in enumerate(schema.columns) if column.name == schema.target), None)
        self.train = train.flatten(1).float().cpu()
        self.reference, self.other = (
            rows[seeded_subset(len(rows), num_samples, mix(seed, stream))]
            for rows, stream in ((reference.flatten(1).float().cpu(), Stream.REFERENCE), (self.train, Stream.FLOOR))
        )
        self.real = columns_of(self.reference, schema)
        self.real_associations = associations(self.real, self.categories)
        self.nearness = Nearness.of(self.reference, self.train)
        self.floor = {f"{name}_floor": value for name, value in self._distances(self.other).items()}
        self.floor |= self._score("tstr_real", columns_of(self.other, schema))
        self.fake: Tensor | None = None  # rows of the last call

    def __call__(self, sampler: Callable[[int, torch.Generator], Tensor], **context: Any) -> Numbers:
        """The metrics by name and the protocol of each; every process computes the same numbers.

        Raises:
            NotFinite: a sample is not finite.
        """
        generator = torch.Generator().manual_seed(mix(self.seed, Stream.SAMPLES))
        rows = sampler(self.num_samples, generator).flatten(1).float().cpu()
        if not rows.isfinite().all():
            raise NotFinite("a row drawn from the model")
        self.fake = self.schema.encode(self.schema.decode(rows))  # as written to a file: with one category each
        fake = columns_of(self.fake, self.schema)
        values = self._distances(self.fake)
        with progress(None, "evaluation: two-sample test (C2ST)"):
            c2st = two_sample_test(fake, self.real, self.categories, self.seed)
        values |= {"c2st": c2st.value, "c2st_low": c2st.low, "c2st_high": c2st.high}
        values |= self._score("tstr", fake) | self.floor
        values |= memorization(Nearness.of(self.fake, self.train), self.nearness)
        return numbers(values, **self.protocol(**context))

    def pictures(self) -> dict[str, Picture]:
        """Pictures of the last call: ``marginals`` and ``correlations``."""
        if self.fake is None:
            return {}
        names = [column.name for column in self.schema.columns]
        real, fake = (self.schema.decode(rows) for rows in (self.reference, self.fake))
        found = associations(columns_of(self.fake, self.schema), self.categories)
        shown: dict[str, Picture] = {"marginals": Marginals(real, fake, "Distribution of each column")}
        if len(names) > 1:
            title = "How much the columns depend on each other"
            shown["correlations"] = Correlations(self.real_associations, found, names, title)
        return shown

    def protocol(self, **context: Any) -> dict[str, Any]:
        """How the numbers were measured."""
        return {
            "extractor": "table",
            "images": "samples",
            "n_fake": self.num_samples,
            "n_real": len(self.reference),
            "n_train": len(self.train),
            "split": self.split,
            "real_hash": content_hash(self.reference)[:12],
            "seed": self.seed,
            "settings": {"trees": TREES, "folds": FOLDS, "target": self.schema.target},
            **context,
        }

    def _distances(self, rows: Tensor) -> dict[str, float]:
        """The distances of encoded rows [N, width] from the reference."""
        table = columns_of(rows, self.schema)
        return {
            "marginals": float(marginals(table, self.real, self.categories).mean()),
            "correlations": correlation_distance(associations(table, self.categories), self.real_associations),
            "energy_distance": energy_distance(rows, self.reference),
        }

    def _score(self, name: str, table: Tensor) -> dict[str, float]:
        """What trees reach on the reference that learn from the first rows [N, C]; empty without a target."""
        if self.target is None:
            return {}
        size = min(self.num_samples, len(self.train))
        return {name: score_on_real(table[:size], self.real, self.categories, self.target, self.seed)}

    def _check(self, held_out: int, train: int) -> None:
        least = 2 * FOLDS
        if not least <= self.num_samples <= MOST_POINTS:
            raise UserError(
                f"evaluation.num_samples={self.num_samples}: rows of a table are compared with each other: set it to "
                f"{least} or more, and to {MOST_POINTS} or less."
            )
        if min(held_out, train) < least:
            raise UserError(
                f"an evaluation needs {least} or more training rows and held-out rows of the table, and there are "
                f"{train} and {held_out}: use more rows, or another dataset.test_fraction."
            )
