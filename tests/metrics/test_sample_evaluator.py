"""The evaluator: one pass, the same number whatever runs it, and no trace left on training."""

import math
import re
import time

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.metrics import (
    SampleEvaluator,
    feature_pass,
    packaged_classifier,
    sample_evaluator,
    set_metrics,
    two_sample,
)
from lightning_gen.metrics.classifier import train_classifier
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.make_weights import load_split
from lightning_gen.metrics.set_metrics import METRICS
from lightning_gen.pictures import to_float
from lightning_gen.randomness import Stream, mix


def bootstrap(images):
    """A sampler that replays real images."""
    return lambda n, generator: to_float(images[torch.randint(len(images), (n,), generator=generator)])


@pytest.fixture(scope="module")
def classifier():
    return packaged_classifier("digits")


def make(classifier, digits, **kwargs):
    kwargs = {"num_samples": 300, "split": "train", **kwargs}
    return SampleEvaluator(classifier, digits[0][0], digits[1][0], **kwargs)


def test_real_images_are_near_the_floor_and_noise_is_far(classifier, digits):
    metrics, protocol = make(classifier, digits)(bootstrap(digits[1][0]), ema=True, checkpoint="last")
    assert list(metrics) == ["eval/fid_classifier", "eval/fid_classifier_floor", "eval/fid_classifier_noise"]
    fid, floor, noise = metrics.values()
    assert 0 < floor < 0.5
    assert fid < 3 * floor  # drawn with replacement, which costs something
    assert noise > 50 * floor
    how = protocol["eval/fid_classifier"]
    expected = {"metric": "fid", "extractor": "classifier-digits-v1", "images": "samples", "n_fake": 300, "seed": 0}
    assert expected.items() <= how.items()
    assert {"n_real": 1437, "split": "train", "ema": True, "checkpoint": "last"}.items() <= how.items()
    assert how["weights_hash"] == classifier.weights_hash
    assert how["versions"]["torch"] == torch.__version__.split("+")[0]
    assert protocol["eval/fid_classifier_floor"] == {**how, "images": "other real images"}
    assert protocol["eval/fid_classifier_noise"] == {**how, "images": "uniform noise"}


def test_the_number_is_the_distance_of_all_the_features(classifier, digits):
    evaluator = make(classifier, digits, num_reference=400, seed=5)
    metrics, _ = evaluator(bootstrap(digits[1][0]))
    chunks = [(0, 250), (1, 50)]
    seeds = [mix(mix(5, Stream.SAMPLES), j) for j, _ in chunks]
    draw = bootstrap(digits[1][0])
    fake = [draw(n, torch.Generator().manual_seed(seed)) for (_, n), seed in zip(chunks, seeds, strict=True)]
    index = seeded_subset(1437, 400, mix(5, Stream.REFERENCE))
    assert len(set(index.tolist())) == 400
    assert index.max() > 1300  # not a prefix
    reference = Moments.of(classifier(to_float(digits[0][0][index])))
    expected = frechet_distance(Moments.of(classifier(torch.cat(fake))), reference)
    assert metrics["eval/fid_classifier"] == pytest.approx(expected, rel=1e-5)


def test_batch_size_does_not_matter_and_the_seed_does(classifier, digits):
    sampler = bootstrap(digits[1][0])
    values = [
        make(classifier, digits, **kwargs)(sampler)[0]["eval/fid_classifier"]
        for kwargs in ({}, {"batch_size": 77}, {"seed": 1})
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert abs(values[2] - values[0]) > 1e-4 * values[0]


def test_nothing_is_drawn_from_the_global_generator(classifier, digits):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    evaluator = make(classifier, digits)
    careless, _ = evaluator(lambda n, generator: torch.rand(n, 1, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert evaluator(lambda n, generator: torch.rand(n, 1, 8, 8))[0] == careless


def test_a_diverged_model_gets_a_number(classifier, digits):
    evaluator = make(classifier, digits)
    metrics, _ = evaluator(lambda n, generator: torch.full((n, 1, 8, 8), float("nan")))
    assert metrics["eval/fid_classifier"] > 10


ALL = ("fid", "diversity", "modes", "kid", "prdc", "memorization", "per_class")


def cached(classifier, digits, folder, **options):
    labels = {"reference_labels": digits[0][1], "other_labels": digits[1][1]}
    return make(classifier, digits, metrics=ALL, cache_dir=folder, num_samples=60, **labels, **options)


def test_results_of_real_images_are_cached_and_a_full_cache_gives_the_bits_of_an_empty_one(
    classifier, digits, tmp_path, monkeypatch
):
    sampler = bootstrap(digits[1][0])
    first = cached(classifier, digits, tmp_path / "cache")
    found = first(sampler)
    files = list((tmp_path / "cache").iterdir())
    passes = []
    original = feature_pass.feature_pass
    for module in (feature_pass, sample_evaluator):
        monkeypatch.setattr(module, "feature_pass", lambda *a, **k: passes.append(1) or original(*a, **k))
    second = cached(classifier, digits, tmp_path / "cache")
    assert second(sampler) == found
    assert len(passes) == 1  # the samples
    assert list(second.pictures()) == ["neighbours"]
    assert torch.equal(second.pictures()["neighbours"].images, first.pictures()["neighbours"].images)
    assert list((tmp_path / "cache").iterdir()) == files
    assert cached(classifier, digits, None)(sampler) == found


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_reference": 500}, {"split": "test"}])
def test_another_protocol_has_other_files(classifier, digits, tmp_path, change):
    sampler = bootstrap(digits[1][0])
    cached(classifier, digits, tmp_path / "cache")(sampler)
    changed = cached(classifier, digits, tmp_path / "cache", **change)(sampler)
    assert changed == cached(classifier, digits, None, **change)(sampler)


def test_a_damaged_file_is_told_and_computed_again(classifier, digits, tmp_path, capsys):
    sampler = bootstrap(digits[1][0])
    found = cached(classifier, digits, tmp_path)(sampler)
    files = sorted(tmp_path.iterdir())
    for index, file in enumerate(files):  # cut short, empty, one bit turned
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 4
        file.write_bytes([content[:-40], b"", content][index % 3])
    assert cached(classifier, digits, tmp_path)(sampler) == found
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(files)
    assert all("is damaged: its content is computed again" in line for line in told)
    assert cached(classifier, digits, tmp_path)(sampler) == found
    assert capsys.readouterr().err == ""


def test_errors(classifier, digits):
    with pytest.raises(UserError, match="num_samples"):
        make(classifier, digits, num_samples=1)
    with pytest.raises(ValueError, match="uint8"):
        SampleEvaluator(classifier, torch.rand(9, 1, 8, 8), num_samples=10)
    with pytest.raises(ValueError, match="3 images where 250"):
        make(classifier, digits)(lambda n, generator: torch.rand(3, 1, 8, 8))


def test_without_other_real_images_there_is_no_floor(classifier, digits):
    metrics, _ = SampleEvaluator(classifier, digits[0][0], num_samples=50)(bootstrap(digits[1][0]))
    assert sorted(metrics) == ["eval/fid_classifier", "eval/fid_classifier_noise"]


STRANGE = {  # samplers of images that no good model draws
    "constant": lambda n, generator: torch.full((n, 1, 8, 8), 0.3),
    "two images": lambda n, generator: (torch.arange(n) % 2).view(n, 1, 1, 1).expand(n, 1, 8, 8).float(),
    "nan": lambda n, generator: torch.full((n, 1, 8, 8), torch.nan),
    "huge": lambda n, generator: 1e38 * torch.randn(n, 1, 8, 8, generator=generator),
}


@pytest.fixture
def few_epochs(monkeypatch):
    for module in (set_metrics, two_sample):
        monkeypatch.setattr(module, "train_classifier", lambda *data, **_: train_classifier(*data, epochs=1))


def strange(classifier, real, metric, samples, n):
    """All metrics of `n` strange samples, with classes in the reference that the classifier and training lack."""
    other = torch.randint(256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    labels = {"reference_labels": torch.arange(n) % 12, "other_labels": torch.arange(n) % 3}
    evaluator = SampleEvaluator(classifier, real(n), other, num_samples=n, metrics=[metric], **labels)
    values = evaluator(STRANGE[samples])[0]
    assert evaluator.pictures().keys() == ({"neighbours"} if metric == "memorization" else set())
    return values


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.usefixtures("few_epochs")
def test_every_metric_of_strange_samples_is_a_number(classifier, digits, metric):
    for samples in STRANGE:
        values = strange(classifier, lambda n: digits[0][0][:n], metric, samples, 40)
        assert values
        assert all(isinstance(value, float) and math.isfinite(value) for value in values.values()), (samples, values)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.usefixtures("few_epochs")
def test_with_few_or_equal_images_a_metric_is_a_number_or_the_key_is_named(classifier, digits, metric):
    for n in (2, 5, 10):
        try:
            values = strange(classifier, lambda n: digits[0][0][:n], metric, "constant", n)
        except UserError as error:
            assert re.match(rf"evaluation.metrics: {metric} needs \d+ samples or more", str(error))  # noqa: PT017
            assert n < METRICS[metric].least(64)
        else:
            assert all(isinstance(value, float) for value in values.values())
            assert n >= METRICS[metric].least(64)
    alike = strange(classifier, lambda n: digits[0][0][:1].repeat(n, 1, 1, 1), metric, "constant", 40)
    undefined = {name for name, value in alike.items() if math.isnan(value)}
    assert undefined == ({"eval/diversity"} if metric == "diversity" else set())  # relative to no diversity


@pytest.mark.data
def test_two_thousand_mnist_samples_take_a_second_or_two(data_root, tmp_path):
    train, test = load_split("mnist", data_root, True)[0], load_split("mnist", data_root, False)[0]
    net = packaged_classifier("mnist")
    evaluator = SampleEvaluator(net, test, train, num_samples=2000, cache_dir=tmp_path)
    assert evaluator.bounds
    start = time.process_time()
    metrics, _ = evaluator(bootstrap(train))
    assert time.process_time() - start < 5  # CPU seconds; 10,000 take five times as long
    assert metrics["eval/fid_classifier"] == pytest.approx(metrics["eval/fid_classifier_floor"], rel=0.5)
    assert metrics["eval/fid_classifier_noise"] > 30 * metrics["eval/fid_classifier_floor"]
