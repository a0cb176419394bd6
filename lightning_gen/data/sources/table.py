"""Rows of a table: a CSV or parquet file, or a data set that comes with scikit-learn."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_gen.data.hold_out import hold_out_rows
from lightning_gen.data.imageset import Decoding, ImageSet, Splits
from lightning_gen.data.tables import Column, TableSchema, column_of
from lightning_gen.errors import UserError, did_you_mean, one_line

SKLEARN = "sklearn:"
SETS = ("iris", "wine", "breast_cancer", "diabetes")  # they need no download
MOST_CATEGORIES = 100  # a column with more is a name or an ID, or a number that was read as text
LARGEST = 1e150  # the square of a larger number overflows
MOSTLY = 0.2  # a column of which a smaller share of values is text was meant to have numbers
Columns = dict[str, np.ndarray]


def table(
    decoding: Decoding,
    path: str | None,
    categorical: list[str] | None = None,
    target: str | None = None,
    drop: list[str] | None = None,
    test_fraction: float = 0.2,
) -> Splits:
    """Rows [N, 1, 1, D] of a table, encoded by the `TableSchema` of its columns; without missing values.

    Args:
        decoding: not used, because there are no images.
        path: a .csv or .parquet file, or `sklearn:NAME` with a name from `SETS`.
        categorical: columns of categories besides those of text and of booleans, which are always.
        target: the column that a classifier or a regression would predict; its categories are the labels. None: none,
            or in scikit-learn's sets their own.
        drop: columns to leave out of the rows. A target that is left out is still the label.
        test_fraction: share of the rows to hold out, the same in every run.

    Raises:
        UserError: a file or column that does not exist, a missing value, or too many categories.
    """
    columns, own_target = read_columns(path, set(drop or ()) - {target})
    for key, names in (("categorical", categorical), ("drop", drop), ("target", [target] if target else None)):
        _check_names(key, names or [], columns)
    left_out, target = set(drop or ()), target or own_target
    kept = {name: values for name, values in columns.items() if name not in left_out}
    if not kept:
        raise UserError(f"dataset.drop={drop} leaves no column: name fewer.")
    total = len(next(iter(columns.values())))
    train, test = (torch.tensor(rows) for rows in hold_out_rows(total, test_fraction))
    described = {
        name: _described(name, values, train.numpy(), categorical or (), path)
        for name, values in columns.items()
        if name in kept or name == target
    }
    schema = TableSchema(tuple(described[name] for name in kept), target if target in kept else None)
    _warn_of_constants(schema, path)
    labels, classes = _labels(described.get(target or ""), columns)
    whole = ImageSet(as_images(schema, kept), labels, classes, table=schema)
    return Splits(whole.subset(train), whole.subset(test))


def standardized(splits: Splits) -> Splits:
    """Vectors, float [N, 1, 1, D] in any units, as rows of a table with the numeric columns x0, x1, ..."""
    train, test = (part.images.flatten(1).double().numpy() for part in (splits.train, splits.test))
    names = [f"x{index}" for index in range(train.shape[1])]
    every = np.arange(len(train))
    schema = TableSchema(
        tuple(column_of(n, c, every, categorical=False) for n, c in zip(names, train.T, strict=True))
    )
    parts = [
        replace(part, images=as_images(schema, dict(zip(names, rows.T, strict=True))), table=schema, mapped=False)
        for part, rows in ((splits.train, train), (splits.test, test))
    ]
    return Splits(*parts)


def as_images(schema: TableSchema, columns: Mapping[str, np.ndarray]) -> Tensor:
    """The encoded rows in the shape of images, [N, 1, 1, D]."""
    return schema.encode(columns)[:, None, None, :]


# -- reading ---------------------------------------------------------------------------------------------------


def read_columns(path: str | None, unused: Collection[str] = ()) -> tuple[Columns, str | None]:
    """The columns of a file or of one of scikit-learn's data sets, and the name of the latter's target.

    Args:
        path: as in `table`.
        unused: columns whose values are not checked.

    Raises:
        UserError: there is no such data set, or the file cannot be used.
    """
    if path is None:
        raise UserError(f"dataset=table needs a file: dataset.path=FILE.csv, FILE.parquet or {SKLEARN}{SETS[1]}.")
    return read_sklearn(path) if path.startswith(SKLEARN) else (read_file(Path(path), unused), None)


def read_sklearn(path: str) -> tuple[Columns, str]:
    """The columns of one of scikit-learn's data sets, and the name of its target.

    Raises:
        UserError: there is no such data set.
    """
    from sklearn import datasets

    name = path.removeprefix(SKLEARN)
    if name not in SETS:
        known = ", ".join(SKLEARN + one for one in SETS)
        raise UserError(f"dataset.path={path} does not exist: use {known}.{did_you_mean(name, SETS)}")
    options: dict[str, Any] = {"scaled": False} if name == "diabetes" else {}
    data = getattr(datasets, f"load_{name}")(**options)
    columns = dict(zip(map(str, data.feature_names), data.data.T, strict=True))
    if name == "diabetes":  # 1 and 2, without a word on which is which
        columns["sex"] = columns["sex"].astype(np.int64).astype(str)
    target = data.target if name == "diabetes" else np.asarray(data.target_names)[data.target]
    return columns | {"target": target}, "target"


def read_file(path: Path, unused: Collection[str] = ()) -> Columns:
    """The columns of a CSV or parquet file by name: numbers, or text; those of `unused` without a check.

    Raises:
        UserError: the file does not exist or cannot be read, pandas is not installed, or a value is missing.
    """
    path = path.expanduser()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else f"does not exist (looked in {path.resolve()})"
        raise UserError(f"dataset.path={path} {what}.")
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise UserError(f"dataset.path={path}: use a file that ends in .csv or .parquet.")
    pandas = import_pandas(parquet=kind == ".parquet")
    try:
        frame = pandas.read_csv(path) if kind == ".csv" else pandas.read_parquet(path)
    except Exception as error:  # pandas and pyarrow raise different errors
        raise UserError(f"dataset.path={path} cannot be read: {one_line(error)}") from error
    if not frame.size:
        raise UserError(f"dataset.path={path} has no rows.")
    if kind == ".csv":
        _check_separators(pandas, frame, path)
    frame.columns = frame.columns.astype(str)
    return {
        name: frame[name].to_numpy() if name in unused else _values(pandas, name, frame[name], path)
        for name in frame.columns
    }


def _check_separators(pandas: Any, frame: Any, path: Path) -> None:
    first = str(frame.columns[0])
    if len(frame.columns) == 1 and (";" in first or "\t" in first):
        raise UserError(f"dataset.path={path} has the single column {first!r}: separate columns by commas.")
    if not frame.index.equals(pandas.RangeIndex(len(frame))):  # pandas takes the first columns as names of the rows
        raise UserError(f"dataset.path={path}: the rows have more values than the first line has names of columns.")


def import_pandas(parquet: bool = False) -> Any:
    """pandas, for CSV and with pyarrow for parquet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pandas

        if parquet:
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"Table files need {error.name}, which is not installed: pip install 'lightning-gen[tables]'."
        ) from error
    return pandas


def _values(pandas: Any, name: str, series: Any, path: Path) -> np.ndarray:
    """A column of a frame as int64, float64 or text."""
    missing = series.isna().to_numpy()
    if missing.any():
        _refuse_value(path, name, int(missing.argmax()), "is missing", "Fill it in")
    kinds = pandas.api.types
    if kinds.is_bool_dtype(series) or not kinds.is_numeric_dtype(series):
        if kinds.is_datetime64_any_dtype(series):
            raise UserError(f"{path}: column {name!r} has dates: leave it out with dataset.drop=[{name}].")
        return series.astype(str).to_numpy(dtype=str)
    if kinds.is_integer_dtype(series):
        return series.to_numpy(dtype=np.int64)
    numbers = series.to_numpy(dtype=np.float64)
    usable = np.abs(numbers) <= LARGEST
    if not usable.all():
        _refuse_value(path, name, int(usable.argmin()), f"is infinite, or beyond {LARGEST:g}", "Replace it")
    return numbers


def _refuse_value(path: Path, name: str, row: int, what: str, advice: str) -> None:
    raise UserError(
        f"{path}: the value of column {name!r} in row {row + 1} {what}. {advice}, or leave out the column with "
        f"dataset.drop=[{name}]."
    )


# -- columns ---------------------------------------------------------------------------------------------------


def _check_names(key: str, names: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    for name in names:
        if name not in columns:
            raise UserError(
                f"dataset.{key}: there is no column {name!r}; there are {', '.join(columns)}."
                f"{did_you_mean(name, columns)}"
            )


def _described(
    name: str, values: np.ndarray, training: np.ndarray, categorical: Sequence[str], path: str | None
) -> Column:
    column = column_of(name, values, training, values.dtype.kind == "U" or name in categorical)
    if len(column.values) > MOST_CATEGORIES:
        text = next((value for value in column.values if not _is_number(value)), None)
        among = "" if text is None else f", among them the text {text!r}"
        raise UserError(
            f"{path}: column {name!r} has {len(column.values):,} different values{among}, and {MOST_CATEGORIES} "
            f"categories are the most: if it is a name or an ID, leave it out with dataset.drop=[{name}]."
        )
    if values.dtype.kind == "U" and name not in categorical:
        _check_text(name, column.values, path)
    return column


def _check_text(name: str, values: Sequence[str], path: str | None) -> None:
    """Raise a UserError for a column of numbers that is text because of a few values, such as `?`."""
    texts = [value for value in values if not _is_number(value)]
    if texts and len(texts) < MOSTLY * len(values):
        raise UserError(
            f"{path}: column {name!r} has numbers, and the text {texts[0]!r}: mend the file, or name the column in "
            "dataset.categorical if its values are categories."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(target: Column | None, columns: Columns) -> tuple[Tensor | None, tuple[str, ...]]:
    """The labels [N] of all rows and the names of the classes, if the target has categories."""
    if target is None or target.kind == "numeric":
        return None, ()
    return torch.from_numpy(target.numbers(columns[target.name])), target.values


def _warn_of_constants(schema: TableSchema, path: str | None) -> None:
    constant = [c.name for c in schema.columns if len(c.values) == 1 or (c.kind == "numeric" and c.std == 0)]
    if constant:
        print(f"warning: {path}: every training row has the same {', '.join(constant)}.", file=sys.stderr)
