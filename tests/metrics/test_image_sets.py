"""The Frechet distance of images is that of the evaluation, and zero between equal sets."""

import numpy as np
import pytest
import torch

import lightning_gen as lg
from lightning_gen.data.imageset import Decoding
from lightning_gen.data.sources.digits import digits
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.sample_evaluator import SampleEvaluator


@pytest.fixture(scope="module")
def splits():
    return digits(Decoding())


def distance(a, b, **options):
    return lg.frechet_distance(a, b, device="cpu", **{"dataset": "digits"} | options)


@pytest.mark.parametrize("extractor", ["classifier", "random", "pixels"])
def test_it_is_the_number_of_the_evaluation(splits, extractor):
    samples, real = splits.train.images[:300].float() / 255, splits.test.images
    network = build_extractor(extractor, dataset="digits", images=splits.train.images)
    evaluator = SampleEvaluator(network, real, num_samples=len(samples))
    left = iter(samples.split(250))
    metrics, _ = evaluator(lambda count, generator: next(left))
    assert distance(samples, real, extractor=extractor) == metrics[f"eval/{network.metric_name('fid')}"] > 0


def test_it_is_zero_between_equal_sets_in_any_form_and_symmetric(splits):
    real, other = splits.test.images, splits.train.images[:360]
    assert distance(real, real) < 1e-9
    assert distance(real, (real / 255).numpy()) < 1e-9
    assert distance(real, other) == pytest.approx(distance(other, np.asarray(real)), rel=1e-9)


def test_the_bias_falls_with_the_number_of_images(splits):
    """As the docstring says: two halves of the same data are further apart the smaller they are."""
    images = splits.train.images[torch.randperm(1437, generator=torch.Generator().manual_seed(0))]
    found = [distance(images[:n], images[700 : 700 + n]) for n in (100, 350, 700)]
    assert found[0] > 1.5 * found[1] > 2 * found[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": None}, "dataset= one of 'digits', 'fashion_mnist', 'mnist', 'mnist_small'"),
        ({"dataset": "cifar10"}, "got 'cifar10'"),
        ({"extractor": "auto"}, "name the features"),
        ({"extractor": "incepton"}, "Did you mean 'inception'"),
    ],
)
def test_features_that_cannot_be_had(splits, options, message):
    with pytest.raises(lg.UserError, match=message):
        distance(splits.test.images, splits.test.images, **options)


def test_one_image_has_no_covariance(splits):
    with pytest.raises(ValueError, match="2 images or more on each side, got 1"):
        distance(splits.test.images, splits.test.images[:1])
