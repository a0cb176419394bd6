"""Rows of tables: which columns they have, which rows are held out, and what is refused."""

import numpy as np
import pytest
import torch

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.sources.arrays import arrays
from lightning_gen.data.sources.table import SETS, read_file, table
from lightning_gen.data.tables import Column
from lightning_gen.errors import UserError

CSV = "id,age,city,member\n" + "".join(
    f"r{i},{20 + i},{'Rome' if i % 3 else 'Ulm'},{i % 2 == 0}\n" for i in range(20)
)


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(CSV)
    return path


def test_text_and_booleans_are_categories_and_numbers_are_standardized_by_the_training_rows(people):
    pytest.importorskip("pandas")
    splits = table(Decoding(), str(people), drop=["id"], target="member", test_fraction=0.2)
    train, test, schema = splits.train, splits.test, splits.train.table
    assert [(c.name, c.kind, c.values) for c in schema.columns] == [
        ("age", "numeric", ()),
        ("city", "categorical", ("Rome", "Ulm")),
        ("member", "categorical", ("False", "True")),
    ]
    assert (len(train), len(test), train.image_shape) == (16, 4, (1, 1, 5))
    ages = train.images[:, 0, 0, 0]
    assert ages.mean().item() == pytest.approx(0, abs=1e-6)
    assert ages.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    back = schema.decode(train.images.flatten(1))
    assert all((city == "Rome") == bool((age - 20) % 3) for age, city in zip(back["age"], back["city"], strict=True))
    together = np.concatenate([back["age"], schema.decode(test.images.flatten(1))["age"]])
    assert sorted(together.tolist()) == list(range(20, 40))  # each row in one split, in the units of the file
    assert (train.classes, schema.target) == (("False", "True"), "member")
    assert torch.equal(train.labels == 1, train.images[:, 0, 0, 4] == 1)


def test_a_target_that_is_dropped_is_still_the_label(people):
    pytest.importorskip("pandas")
    train = table(Decoding(), str(people), drop=["id", "city"], target="city").train
    assert train.classes == ("Rome", "Ulm")
    assert [column.name for column in train.table.columns] == ["age", "member"]
    assert train.table.target is None


def test_parquet_gives_the_same_rows(people):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = people.with_suffix(".parquet")
    pandas.read_csv(people).to_parquet(path)
    one, other = (table(Decoding(), str(file), drop=["id"]).train for file in (people, path))
    assert torch.equal(one.images, other.images)
    assert one.table == other.table


@pytest.mark.parametrize("name", SETS)
def test_the_sets_of_scikit_learn_need_no_file(name):
    train = table(Decoding(), f"sklearn:{name}").train
    kinds = {column.kind for column in train.table.columns}
    assert kinds == {"numeric", "categorical"}
    assert train.table.target == "target"
    assert (train.labels is None) == (name == "diabetes")  # its target is a number
    if name == "diabetes":
        assert train.table.columns[1] == Column("sex", "categorical", ("1", "2"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,x\n,y\n3,x\n", {}, r"the value of column 'a' in row 2 is missing.*dataset.drop=\[a\]"),
        ("a,b\n1,x\n2,\n3,x\n", {}, r"the value of column 'b' in row 2 is missing"),
        ("a,b\n1,x\n2,y\ninf,x\n", {}, r"the value of column 'a' in row 3 is infinite"),
        ("a,b\n1,x\n2,y\n", {"target": "c"}, r"dataset.target: there is no column 'c'; there are a, b"),
        ("a,b\n1,x\n2,y\n", {"drop": ["a", "b"]}, r"dataset.drop=\['a', 'b'\] leaves no column"),
        (
            "a\n" + "".join(f"n{i}\n" for i in range(101)),
            {},
            r"column 'a' has 101 different values.*dataset.drop=\[a\]",
        ),
        (
            "a\n?\n" + "".join(f"{i}\n" for i in range(101)),
            {},
            r"column 'a' has 102 different values, among them the text '\?'",
        ),
        (
            "a\n?\n" + "".join(f"{i}\n" for i in range(10)),
            {},
            r"column 'a' has numbers, and the text '\?': mend the file, or name the column in dataset.categorical",
        ),
        ("a,b\n", {}, r"has no rows"),
        ("a,b\n1,x\n1e200,y\n", {}, r"the value of column 'a' in row 2 is infinite, or beyond 1e\+150"),
        ("a;b\n1,5;x\n2,5;y\n", {}, r"has the single column 'a;b': separate columns by commas"),
        ("a\tb\n1\tx\n2\ty\n", {}, r"separate columns by commas"),
        ("a,b\n1,x,3\n2,y,4\n", {}, r"more values than the first line has names"),
        ("a,b\n1,x\n", {}, r"dataset.test_fraction=0.2 leaves nothing to train on, of 1 in all"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(tmp_path, text, options, message):
    pytest.importorskip("pandas")
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as found:
        table(Decoding(), str(path), **options)
    assert "\n" not in str(found.value)


def test_a_column_that_is_left_out_may_miss_values(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "GAPS.CSV"
    path.write_text("a,b,c\n1,,x\n2,inf,\n3,1,x\n4,2,x\n")
    assert [column.name for column in table(Decoding(), str(path), drop=["b", "c"]).train.table.columns] == ["a"]
    with pytest.raises(UserError, match=r"column 'c' in row 2 is missing"):  # the labels
        table(Decoding(), str(path), drop=["b", "c"], target="c")


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "table.xlsx").touch()
    for path, message in [
        (tmp_path / "table.xlsx", r"ends in .csv or .parquet"),
        (tmp_path / "none.csv", r"does not exist"),
        (tmp_path, r"is a folder"),
    ]:
        with pytest.raises(UserError, match=message):
            read_file(path)
    with pytest.raises(UserError, match=r"use sklearn:iris, .* Did you mean 'wine'"):
        table(Decoding(), "sklearn:wines")
    with pytest.raises(UserError, match=r"dataset.path=FILE.csv"):
        table(Decoding(), None)


def test_changes_of_images_do_not_apply():
    data = ImageDataModule("table", table, flip=True, path="sklearn:wine")
    with pytest.raises(UserError, match=r"holds points or rows, not images"):
        data.load()


def test_vectors_are_a_table_of_numbers(tmp_path):
    vectors = np.random.default_rng(0).normal(5, 3, (30, 4)).astype(np.float32)
    np.savez(tmp_path / "vectors.npz", x_train=vectors, y_train=np.arange(30) % 2)
    splits = arrays(Decoding(), str(tmp_path / "vectors.npz"))
    assert (len(splits.train), len(splits.test), splits.train.image_shape) == (27, 3, (1, 1, 4))
    assert splits.train.images.mean((0, 1, 2)).abs().max() < 1e-6
    assert splits.train.classes == ("0", "1")
    back = splits.test.table.decode(splits.test.images.flatten(1))
    assert list(back) == ["x0", "x1", "x2", "x3"]
    assert np.isclose(back["x2"][:, None], vectors[:, 2]).any(1).all()


def test_vectors_with_values_that_are_no_numbers_are_refused(tmp_path):
    vectors = np.zeros((5, 3))
    vectors[3, 1] = np.nan
    np.save(tmp_path / "vectors.npy", vectors)
    with pytest.raises(UserError, match=r"image 3 \(NaN or infinite\)"):
        arrays(Decoding(), str(tmp_path / "vectors.npy"))


def test_categories_may_be_numbers_and_a_text(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "grades.csv"
    path.write_text("grade\n" + "".join(f"{value}\n" for value in [1, 2, 3, 4, 5, "absent"] * 5))
    train = table(Decoding(), str(path), categorical=["grade"]).train
    assert train.table.columns[0].values == ("1", "2", "3", "4", "5", "absent")
