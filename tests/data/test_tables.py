import json
import math

import numpy as np
import pytest
import torch

from lightning_gen.data.tables import Column, TableSchema, column_of, one_hot_categories, probabilities
from lightning_gen.errors import UserError

AGE = Column("age", "numeric", (), 40.0, 10.0, integer=True)
CITY = Column("city", "categorical", ("Bonn", "Rome", "Ulm"))
SIZE = Column("size", "numeric", (), 1.5, 0.5)
SCHEMA = TableSchema((AGE, CITY, SIZE), "city")
BLOCKS = SCHEMA.blocks()
COLUMNS = {"age": np.array([50, 30]), "city": np.array(["Ulm", "Bonn"]), "size": np.array([1.0, 1.75])}


def test_a_row_is_standardized_numbers_and_one_hot_categories():
    assert SCHEMA.width == 5
    assert SCHEMA.slices == {"age": slice(0, 1), "city": slice(1, 4), "size": slice(4, 5)}
    expected = [[1.0, 0, 0, 1, -1.0], [-1.0, 1, 0, 0, 0.5]]
    assert SCHEMA.encode(COLUMNS).tolist() == expected


def test_decoding_gives_the_values_back():
    found = SCHEMA.decode(SCHEMA.encode(COLUMNS))
    assert list(found) == ["age", "city", "size"]
    assert found["age"].dtype == np.int64
    for name, values in COLUMNS.items():
        assert found[name].tolist() == values.tolist()


def test_decoded_integers_are_rounded_and_a_category_is_the_largest():
    found = SCHEMA.decode(torch.tensor([[0.26, 0.2, 0.5, 0.3, 0.0]]))
    assert (found["age"][0], found["city"][0], found["size"][0]) == (43, "Rome", 1.5)


def test_a_schema_survives_json():
    assert TableSchema.from_dict(json.loads(json.dumps(SCHEMA.to_dict()))) == SCHEMA


def test_an_unknown_category_and_a_missing_column_are_told():
    with pytest.raises(UserError, match=r"column 'city': 'Oslo' is not one of its 3 categories"):
        SCHEMA.encode(COLUMNS | {"city": np.array(["Ulm", "Oslo"])})
    with pytest.raises(UserError, match=r"column 'size' is missing"):
        SCHEMA.encode({"age": COLUMNS["age"], "city": COLUMNS["city"]})


def test_mean_and_std_are_those_of_the_training_rows_and_categories_those_of_all():
    values, training = np.array([1.0, 3.0, 100.5]), np.array([0, 1])
    assert column_of("x", values, training, categorical=False) == Column("x", "numeric", (), 2.0, 1.0)
    flags = column_of("on", np.array([True, True, False]), training, categorical=True)
    assert flags == Column("on", "categorical", ("False", "True"))


@pytest.mark.parametrize("constant", [7.0, 0.1])
def test_a_constant_column_comes_back_exactly(constant):
    column = column_of("x", np.full(30, constant), np.arange(20), categorical=False)
    assert column.std == 0
    assert TableSchema((column,)).numeric().tolist() == []
    assert TableSchema((column,)).encode({"x": np.full(3, constant)}).tolist() == [[0.0]] * 3
    assert column.decode(np.array([[0.0], [2.5]])).tolist() == [constant, constant]


def test_outputs_are_numbers_and_probabilities():
    raw = torch.tensor([[3.0, 0.0, 0.0, math.log(2.0), -4.0]])
    assert torch.allclose(probabilities(raw, BLOCKS), torch.tensor([[3.0, 0.25, 0.25, 0.5, -4.0]]))


def test_straight_through_outputs_are_one_hot_with_the_gradient_of_the_softmax():
    raw = torch.tensor([[3.0, 0.1, 0.0, 0.2, -4.0]], requires_grad=True)
    weights = torch.arange(5.0)
    rows = one_hot_categories(raw, BLOCKS)
    assert torch.allclose(rows, torch.tensor([[3.0, 0, 0, 1, -4.0]]))
    (found,) = torch.autograd.grad((rows * weights).sum(), raw)
    (expected,) = torch.autograd.grad((probabilities(raw, BLOCKS) * weights).sum(), raw)
    assert torch.equal(found, expected)
