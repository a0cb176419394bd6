"""lightning-gen data: what it prints, the picture that it writes, and mistakes."""

import pytest
import torch
from PIL import Image

from lightning_gen.commands import data
from lightning_gen.commands.data import classes, describe_data, statistics
from lightning_gen.data.imageset import ImageSet
from lightning_gen.errors import UserError


def test_the_table_and_the_picture(tmp_path, capsys):
    path = describe_data("digits", ["dataset.classes=[3,5]", "dataset.size=16"], tmp_path / "d.png")
    printed = capsys.readouterr().out
    for text in ("1x16x16", "2: 3, 5; from", "0 to ", "0.1 MB as uint8", "images/s, in batches of 64"):
        assert text in printed
    assert Image.open(path).size == (820, 1020)  # 64 images of 96 pixels with gaps between, below a title


def test_points_are_described_too(tmp_path, capsys):
    options = ["dataset.num_points=3000", "dataset.num_test=50", "dataset.kind=swiss_roll"]
    describe_data("gaussians", options, tmp_path / "d.png")
    printed = capsys.readouterr().out
    assert "no labels" in printed
    assert "as float32" in printed


def test_statistics_and_classes():
    images = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    low, high, mean, std = statistics(ImageSet(images))
    assert (low, high) == (0.0, 1.0)
    assert mean == pytest.approx(0.5)
    assert std == pytest.approx(0.17**0.5)  # of 0, 0.2, 0.8, 1
    known = ImageSet(images, torch.tensor([0, 1, 1, 1]), ("a", "b"))
    assert classes(known, "images") == "2: a, b; from 1 (a) to 3 (b) images"
    assert classes(ImageSet(images, torch.zeros(4, dtype=torch.long), ("a",)), "images") == "1: a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnst"], r"dataset=mnst does not exist.*Did you mean 'mnist'"),
        (["digits", "dataset.siz=3"], r"no config key 'dataset\.siz'\. Did you mean 'dataset\.size'"),
        (["arrays"], r"dataset\.path=FILE"),
        (["digits", "dataset.crop=9"], r"smaller than a crop of 9x9"),
    ],
)
def test_mistakes_are_told(arguments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        describe_data(arguments[0], arguments[1:], tmp_path / "d.png")


def test_the_columns_of_a_table_are_printed_and_not_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "MEASURED_SECONDS", 0.01)
    options = ["dataset.path=sklearn:iris"]
    with pytest.raises(UserError, match="--out: the columns of a table are printed"):
        describe_data("table", options, tmp_path / "d.png")
    assert describe_data("table", options, None) is None
    printed = capsys.readouterr().out
    assert "sepal length (cm)" in printed
    assert "target (target)" in printed
    assert "3: setosa 3" in printed  # about a third
