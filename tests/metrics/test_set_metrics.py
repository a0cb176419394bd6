"""All metrics through the evaluator, from one pass over the samples."""

import pytest
import torch
import torch.multiprocessing as mp

from lightning_gen.errors import UserError
from lightning_gen.metrics import SampleEvaluator, packaged_classifier
from lightning_gen.metrics.extractors import RandomExtractor
from lightning_gen.metrics.make_weights import load_split
from lightning_gen.metrics.set_metrics import METRICS
from lightning_gen.pictures import to_float

QUICK = [name for name in METRICS if name != "tstr"]


def replay(images):
    return lambda n, generator: to_float(images[torch.randperm(len(images), generator=generator)[:n]])


def evaluator_of(digits, metrics):
    """The reference is 240 test images, held out are the same, the rest is training."""
    (train, train_labels), (test, test_labels) = digits
    return SampleEvaluator(
        packaged_classifier("digits"),
        test[:240],
        train,
        num_samples=240,
        metrics=metrics,
        reference_labels=test_labels[:240],
        other_labels=train_labels,
    )


@pytest.fixture(scope="module")
def fresh(digits):
    """All metrics of test images that are not in the reference, with their protocol and the number of images drawn."""
    sampler, calls = replay(digits[1][0][240:].repeat(3, 1, 1, 1)), []

    def counting(n, generator):
        calls.append(n)
        return sampler(n, generator)

    metrics, protocol = evaluator_of(digits, QUICK)(counting)
    return metrics, protocol, sum(calls)


def test_one_pass_gives_every_metric(fresh):
    metrics, protocol, drawn = fresh
    assert drawn == 240
    expected = {"fid_classifier", "fid_classifier_floor", "fid_classifier_noise", "fid_infinity_classifier"}
    expected |= {"kid_classifier", "kid_classifier_std", "inception_score_classifier", "precision", "recall"}
    expected |= {"density", "coverage", "coverage_floor", "classes_lost", "class_total_variation", "c2st"}
    expected |= {"nearest_train_ratio", "data_copying", "auth_pct", "auth_pct_floor", "fid_classifier_class_9"}
    assert {f"eval/{name}" for name in expected} <= set(metrics)
    assert all(isinstance(value, float) for value in metrics.values())
    assert protocol.keys() == metrics.keys()
    assert protocol["eval/kid_classifier_std"]["settings"] == {"subsets": 100, "subset_size": 1000}
    assert protocol["eval/coverage"]["settings"] == {"k": 5}
    assert protocol["eval/coverage"]["images"] == "samples"
    assert protocol["eval/coverage_floor"]["images"] == "other real images"
    assert protocol["eval/auth_pct"]["n_train"] == 1437


def test_memorization_sees_the_copied_training_set_that_fid_misses(fresh, digits):
    evaluator = evaluator_of(digits, ["fid", "memorization"])
    copied, fresh = evaluator(replay(digits[0][0]))[0], fresh[0]
    assert copied["eval/fid_classifier"] < 1.5 * copied["eval/fid_classifier_floor"]
    assert copied["eval/nearest_train_ratio"] < 1e-6
    assert copied["eval/auth_pct"] == 0
    assert copied["eval/data_copying"] < -10
    assert fresh["eval/nearest_train_ratio"] > 0.7
    assert fresh["eval/auth_pct"] > copied["eval/auth_pct_floor"] / 2
    picture = evaluator.pictures(count=2)["neighbours"]
    assert picture.column_names == 2 * ["sample", "nearest", "second", "third"]
    assert picture.images.shape == (8, 1, 8, 8)
    assert torch.equal(picture.images[::4], picture.images[1::4])  # each copy beside its original
    assert picture.captions[:2] == ["", "0"]


def test_diversity_and_modes_of_known_samplers(digits):
    """The real images vary as real images do; one image over and over does not vary, and is of one class."""
    (train, labels), _ = digits
    evaluate = evaluator_of(digits, ["diversity", "modes", "per_class"])
    alike = evaluate(replay(train))[0]
    assert alike["eval/diversity"] == pytest.approx(1, abs=0.05)
    assert (alike["eval/classes_found"], alike["eval/classes_lost"]) == (10, 0)
    single = evaluate(replay(train[labels == 3][:1].repeat(240, 1, 1, 1)))[0]
    assert single["eval/diversity"] == pytest.approx(0, abs=1e-6)
    assert single["eval/classes_found"] == 1
    assert single["eval/class_total_variation"] == pytest.approx(0.9, abs=0.02)


def test_diversity_is_the_mean_distance_of_pairs():
    """The root of the mean squared distance between two samples, over that between two real images."""
    from types import SimpleNamespace

    from lightning_gen.metrics.frechet import Moments

    def pairs(x):
        return float(torch.cdist(x, x).square().sum() / (len(x) * (len(x) - 1))) ** 0.5

    fake, real = torch.randn(50, 6).double() * 0.3, torch.randn(70, 6).double()
    sides = {name: SimpleNamespace(moments=Moments.of(x)) for name, x in (("fake", fake), ("reference", real))}
    value = METRICS["diversity"].compute(SimpleNamespace(**sides))["diversity"]
    assert value == pytest.approx(pairs(fake) / pairs(real))


def test_a_lost_class_is_seen(digits):
    images, labels = digits[0]
    evaluate = evaluator_of(digits, ["fid", "modes", "per_class", "prdc"])
    metrics = evaluate(replay(images[labels != 3]))[0]
    assert metrics["eval/classes_lost"] == 1
    assert metrics["eval/class_total_variation"] > 0.08  # a tenth of the mass is elsewhere
    assert metrics["eval/recall"] < metrics["eval/recall_floor"]
    assert metrics["eval/fid_classifier"] > 1.5 * metrics["eval/fid_classifier_floor"]


def test_training_on_samples_is_compared_with_training_on_real_images(digits, monkeypatch):
    from lightning_gen.metrics import classifier as module

    recipe = module.Recipe
    monkeypatch.setattr(module, "Recipe", lambda seed: recipe(seed=seed, epochs=6, min_steps=0))
    (train, train_labels), (test, test_labels) = digits
    evaluator = SampleEvaluator(
        packaged_classifier("digits"),
        train,
        test,
        num_samples=400,
        metrics=["tstr"],
        reference_labels=train_labels,
        other_labels=test_labels,
        split="train",
    )
    metrics, _ = evaluator(replay(train))
    assert metrics["eval/tstr_real"] > 0.8
    assert metrics["eval/tstr"] == pytest.approx(metrics["eval/tstr_real"], abs=0.1)


def test_what_cannot_be_measured_is_said_before_anything_is_drawn(digits):
    train, test = digits[0][0], digits[1][0]
    net = packaged_classifier("digits")
    with pytest.raises(UserError, match="Did you mean 'kid'"):
        SampleEvaluator(net, train, test, num_samples=9, metrics=["kidd"])
    with pytest.raises(UserError, match="training and held-out"):
        SampleEvaluator(net, train, num_samples=9, metrics=["memorization"])
    with pytest.raises(UserError, match="class labels"):
        SampleEvaluator(net, train, test, num_samples=9, metrics=["tstr"])
    with pytest.raises(UserError, match="an extractor that classifies"):
        SampleEvaluator(RandomExtractor(1), train, test, num_samples=9, metrics=["inception_score"])


def two_processes(digits):
    return SampleEvaluator(
        packaged_classifier("digits"), digits[1][0], digits[0][0], num_samples=600, metrics=["fid", "kid", "prdc"]
    )(lambda n, generator: torch.rand(n, 1, 8, 8, generator=generator) * 0.5)[0]


def _worker(rank, world, folder):
    torch.set_num_threads(1)
    init = f"file://{folder}/init"
    torch.distributed.init_process_group("gloo", init_method=init, rank=rank, world_size=world)
    found = two_processes((load_split("digits", "", True), load_split("digits", "", False)))
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(digits, tmp_path):
    one = two_processes(digits)
    mp.start_processes(_worker, args=(2, str(tmp_path)), nprocs=2, start_method="fork")  # a new start takes 10 s each
    for rank in range(2):
        other = torch.load(tmp_path / f"{rank}.pt")
        for name, value in one.items():
            if "fid" in name:  # sums of moments in another order
                assert other[name] == pytest.approx(value, rel=1e-9)
            else:  # features put back in order: the same bits
                assert other[name] == value, name
