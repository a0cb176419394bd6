"""What the columns of a table are, and how its rows become vectors of floats and columns again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.errors import UserError


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: its name.
        kind: `numeric` or `categorical`.
        values: the categories as text, in sorted order; empty for numbers.
        mean, std: of the numbers in the training rows, in the units of the data. A std of 0 says that they are all
            the same, within rounding.
        integer: the numbers are whole, and decoded ones are rounded.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    values: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    integer: bool = False

    @property
    def width(self) -> int:
        """The number of floats that the column takes in a row."""
        return 1 if self.kind == "numeric" else len(self.values)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """The values [N] as floats [N, width]: standardized, or one-hot.

        Raises:
            UserError: a category that is not among `values`, or text in place of numbers.
        """
        if self.kind == "numeric":
            if values.dtype.kind not in "iufb":
                raise UserError(f"column {self.name!r} has text in place of numbers, such as {values[0]!r}.")
            return (values.astype(np.float64)[:, None] - self.mean) / (self.std or 1.0)
        numbers = self.numbers(values)
        return np.eye(len(self.values))[numbers]

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """The categories [N] as their positions in `values`, int64.

        Raises:
            UserError: a category that is not among `values`.
        """
        positions = {value: index for index, value in enumerate(self.values)}
        different, place = np.unique(values.astype(str), return_inverse=True)
        unknown = next((value for value in different.tolist() if value not in positions), None)
        if unknown is not None:
            raise UserError(f"column {self.name!r}: {unknown!r} is not one of its {len(self.values)} categories.")
        return np.array([positions[value] for value in different.tolist()], dtype=np.int64)[place.reshape(-1)]

    def decode(self, floats: np.ndarray) -> np.ndarray:
        """The values [N] of floats [N, width], in the units of the data; the category with the largest float."""
        if self.kind == "categorical":
            return np.array(self.values)[floats.argmax(axis=1)]
        numbers = floats[:, 0].astype(np.float64) * self.std + self.mean
        return np.rint(numbers).astype(np.int64) if self.integer else numbers


class TableSchema(NamedTuple):
    """The columns of a table, in order, and which of them is the target of a prediction, if any.

    A row is a vector of `width` floats: for a numeric column one, standardized by the training rows; for a
    categorical column one for each category, 1 for the category of the row and 0 for the others.
    """

    columns: tuple[Column, ...]
    target: str | None = None

    @property
    def width(self) -> int:
        """The number of floats in a row."""
        return sum(column.width for column in self.columns)

    @property
    def slices(self) -> dict[str, slice]:
        """The place of each column in a row, by name."""
        found, start = {}, 0
        for column in self.columns:
            found[column.name] = slice(start, start + column.width)
            start += column.width
        return found

    def blocks(self) -> list[slice]:
        """The places of the categorical columns."""
        slices = self.slices
        return [slices[column.name] for column in self.columns if column.kind == "categorical"]

    def numeric(self) -> Tensor:
        """The places of the numeric columns that are not constant, int64."""
        slices = self.slices
        return torch.tensor([slices[c.name].start for c in self.columns if c.kind == "numeric" and c.std > 0]).long()

    def encode(self, frame_columns: Mapping[str, np.ndarray]) -> Tensor:
        """Rows, float32 [N, width], from the values of each column [N] by name; other columns are ignored.

        Raises:
            UserError: a column is missing, or has a category that the schema does not know.
        """
        absent = [column.name for column in self.columns if column.name not in frame_columns]
        if absent:
            raise UserError(f"column {absent[0]!r} is missing: there are {', '.join(frame_columns)}.")
        parts = [column.encode(np.asarray(frame_columns[column.name])) for column in self.columns]
        return torch.from_numpy(np.concatenate(parts, axis=1)).float()

    def decode(self, rows: Tensor) -> dict[str, np.ndarray]:
        """The values of each column [N] by name, in the units of the data, from rows [N, width].

        Numbers are float64, or int64 in a column of integers; categories are text, the one with the largest float.
        """
        array, slices = rows.detach().cpu().double().numpy(), self.slices
        return {column.name: column.decode(array[:, slices[column.name]]) for column in self.columns}

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain containers, for JSON and checkpoints."""
        return {"columns": [{**c._asdict(), "values": list(c.values)} for c in self.columns], "target": self.target}

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> TableSchema:
        """The schema that `to_dict` saved."""
        columns = [Column(**{**column, "values": tuple(column["values"])}) for column in saved["columns"]]
        return TableSchema(tuple(columns), saved["target"])


def probabilities(raw: Tensor, blocks: Sequence[slice]) -> Tensor:
    """Rows [..., width] from a network's raw output: the categorical columns, at `blocks`, by softmax."""
    parts, start = [], 0
    for block in blocks:
        parts += [raw[..., start : block.start], raw[..., block].softmax(dim=-1)]
        start = block.stop
    return torch.cat([*parts, raw[..., start:]], dim=-1) if parts else raw


def one_hot_categories(raw: Tensor, blocks: Sequence[slice]) -> Tensor:
    """The same with the most probable category 1 and the others 0; the gradient is that of the softmax.

    This is a straight-through estimator (Bengio et al. 2013). A discriminator cannot tell such rows from real ones by
    their being one-hot.
    """
    soft = probabilities(raw, blocks)
    if not blocks:
        return soft
    hard = soft.detach().clone()
    for block in blocks:
        part = hard[..., block]
        hard[..., block] = F.one_hot(part.argmax(dim=-1), part.shape[-1]).to(soft)
    return hard + (soft - soft.detach())


def column_of(name: str, values: np.ndarray, training: np.ndarray, categorical: bool) -> Column:
    """Describe a column from all its values [N] and the numbers of its training rows, int64 [M].

    Categories are those of all rows; mean and standard deviation are those of the training rows.
    """
    if categorical:
        return Column(name, "categorical", tuple(np.unique(values.astype(str)).tolist()))
    numbers = values[training].astype(np.float64)
    mean, std = float(numbers.mean()), float(numbers.std())
    if std <= 1e-12 * abs(mean) or np.ptp(numbers) == 0:  # what is left is rounding
        mean, std = float(numbers[0]), 0.0
    whole = values.dtype.kind in "iu" or bool((np.rint(values) == values).all() and np.abs(values).max() < 2**31)
    return Column(name, "numeric", (), mean, std, whole)
