"""Data sets in Hugging Face's format, saved in a folder: no hub is asked."""

import io

import numpy as np
import pytest

from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.huggingface import huggingface
from lightning_gen.errors import UserError
from tests.data.test_folder import numbers, picture

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def decoding(tmp_path):
    return lambda **options: Decoding(cache_dir=tmp_path / "cache", **options)


def table(count, first=0, bad=()):
    def png(number):
        buffer = io.BytesIO()
        picture(number).save(buffer, "PNG")
        return buffer.getvalue()

    rows = range(first, first + count)
    columns = {
        "picture": [{"bytes": b"broken" if i in bad else png(i), "path": None} for i in rows],
        "kind": [i % 2 for i in rows],
    }
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["even", "odd"])})
    return datasets.Dataset.from_dict(columns, features)


def test_splits_images_and_labels(tmp_path, decoding):
    datasets.DatasetDict({"train": table(12), "test": table(4, 100)}).save_to_disk(tmp_path / "set")
    splits = huggingface(decoding(), str(tmp_path / "set"))
    assert numbers(splits.train) == list(range(12))
    assert numbers(splits.test) == [100, 101, 102, 103]
    assert splits.train.classes == ("even", "odd")
    assert splits.train.labels.tolist() == [i % 2 for i in range(12)]
    assert splits.train.mapped


def test_without_a_test_split_a_tenth_is_held_out(tmp_path, decoding):
    table(20).save_to_disk(tmp_path / "set")
    splits = huggingface(decoding(), str(tmp_path / "set"))
    assert len(splits.test) == 2
    assert sorted(numbers(splits.train) + numbers(splits.test)) == list(range(20))
    assert [i % 2 for i in numbers(splits.train)] == splits.train.labels.tolist()


def test_a_bad_row_is_named_and_can_be_left_out(tmp_path, decoding):
    datasets.DatasetDict({"train": table(12, bad=(5,)), "test": table(4)}).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match=r"1 of 16 images .*row 5 \(not an image"):
        huggingface(decoding(), str(tmp_path / "set"))
    splits = huggingface(decoding(on_bad_image="skip"), str(tmp_path / "set"))
    assert numbers(splits.train) == [i for i in range(12) if i != 5]


def test_a_folder_of_parquet_is_a_set_as_well(tmp_path, decoding):
    (tmp_path / "set").mkdir()
    table(12).to_parquet(tmp_path / "set" / "train.parquet")
    assert len(huggingface(decoding(), str(tmp_path / "set")).train) == 11


def test_what_is_not_there_is_named(tmp_path, decoding):
    with pytest.raises(UserError, match=r"dataset\.name=ylecun/mnist"):
        huggingface(decoding(), None)
    with pytest.raises(UserError, match=r"dataset\.name=no/such_set cannot be loaded"):
        huggingface(decoding(), "no/such_set")
    datasets.DatasetDict({"test": table(4)}).save_to_disk(tmp_path / "test_only")
    with pytest.raises(UserError, match=r"no split `train`, only test"):
        huggingface(decoding(), str(tmp_path / "test_only"))
    datasets.Dataset.from_dict({"x": np.arange(4)}).save_to_disk(tmp_path / "numbers")
    with pytest.raises(UserError, match=r"no column of images; there are x"):
        huggingface(decoding(), str(tmp_path / "numbers"))
    table(4).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match=r"dataset\.label_column=kin does not exist.*'kind'"):
        huggingface(decoding(), str(tmp_path / "set"), label_column="kin")
