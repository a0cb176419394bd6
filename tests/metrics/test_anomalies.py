"""AUROC and average precision on known answers, and scores without a model."""

import math
from statistics import NormalDist

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from lightning_gen.metrics.anomalies import (
    auroc,
    average_precision,
    mahalanobis,
    neighbour_distance,
    png_nats,
    separation,
)


@pytest.mark.parametrize(
    ("normal", "anomalies", "area", "precision"),
    [
        ([1, 2], [3, 4, 5], 1.0, 1.0),
        ([3, 4], [1, 2], 0.0, (1 / 3 + 2 / 4) / 2),
        ([7, 7, 7], [7], 0.5, 1 / 4),  # all tied: every threshold finds all images
        ([1, 2, 3], [2, 4], 4.5 / 6, (1 / 1 + 2 / 4) / 2),
    ],
)
def test_known_answers(normal, anomalies, area, precision):
    normal, anomalies = torch.tensor(normal), torch.tensor(anomalies)
    assert auroc(normal, anomalies) == pytest.approx(area)
    assert average_precision(normal, anomalies) == pytest.approx(precision)


def test_they_agree_with_scikit_learn_where_scores_are_tied():
    generator = torch.Generator().manual_seed(0)
    normal, anomalies = (torch.randint(0, 20, (n,), generator=generator) + shift for n, shift in ((300, 0), (80, 4)))
    truth = torch.cat([torch.zeros(300), torch.ones(80)])
    scores = torch.cat([normal, anomalies])
    assert auroc(normal, anomalies) == pytest.approx(roc_auc_score(truth, scores))
    assert average_precision(normal, anomalies) == pytest.approx(average_precision_score(truth, scores))


def test_the_interval_is_as_wide_as_theory_says():
    generator = torch.Generator().manual_seed(0)
    normal, anomalies = (torch.randn(n, generator=generator).double() for n in (600, 400))
    anomalies = anomalies + 1
    value, low, high = separation(normal, anomalies, resamples=400)["auroc"]
    assert low < NormalDist().cdf(1 / math.sqrt(2)) < high  # the AUROC of N(0, 1) and N(1, 1)
    wins = (anomalies[:, None] > normal).double()  # the variance of DeLong et al. 1988
    error = (wins.mean(1).var() / 400 + wins.mean(0).var() / 600).sqrt().item()
    assert value == pytest.approx(wins.mean().item())
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_images_of_one_kind_have_no_auroc():
    with pytest.raises(ValueError, match="got 3 and 0"):
        auroc(torch.ones(3), torch.ones(0))


def test_the_mahalanobis_distance_does_not_depend_on_the_axes():
    generator = torch.Generator().manual_seed(0)
    reference, codes = (torch.randn(n, 3, generator=generator) for n in (50_000, 20))
    torch.testing.assert_close(mahalanobis(codes, reference), codes.double().norm(dim=1), rtol=0.03, atol=0)
    turned = torch.tensor([[3.0, 1, 0, 2], [0, 0.1, 0, 1], [2, 0, 1, 0]])  # into four dimensions, of which three vary
    torch.testing.assert_close(
        mahalanobis(codes @ turned + 5, reference @ turned + 5), mahalanobis(codes, reference), rtol=1e-3, atol=0
    )


def test_the_distance_to_the_second_nearest():
    reference = torch.tensor([[0.0], [1.0], [5.0]])
    assert neighbour_distance(torch.tensor([[0.0], [6.0]]), reference, 2).tolist() == [1.0, 5.0]


def test_noise_does_not_compress_and_a_white_image_does():
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    white, random = png_nats(torch.cat([torch.ones(1, 1, 64, 64), noise])).tolist()
    assert random >= 64 * 64 * math.log(256)  # no code is shorter than the entropy
    assert white < random / 30
    assert png_nats(noise.repeat(1, 3, 1, 1)).item() > random  # colour works too
