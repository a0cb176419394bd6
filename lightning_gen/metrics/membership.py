"""Membership inference: can the training images of a model be told apart from images that it has not seen?

An attack gives each image a score, higher for images that are more likely to have been trained on. The functions here
measure how well scores separate members (training images) from others, with intervals for small numbers of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import brentq
from scipy.stats import beta, norm
from torch import Tensor

from lightning_gen.metrics.anomalies import auroc as area_under_curve

CONFIDENCE = 0.95
SMALLEST_DEVIATION = 1e-12  # so that scores that are all equal are not divided by 0


class Estimate(NamedTuple):
    """A value with the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def auroc(members: Tensor, others: Tensor) -> Estimate:
    """The probability that a random member has a higher score than a random other image, ties counted half.

    It is the area under the receiver operating characteristic; 0.5 is guessing. The interval is method 5 of Newcombe
    (2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2"), which is
    not empty at 0 and 1.

    Args:
        members: scores [M] of training images.
        others: scores [N] of images that were not trained on.
    """
    m, n = len(members), len(others)
    value = area_under_curve(others, members)
    z, extra = norm.ppf(0.5 + CONFIDENCE / 2), (m + n) / 2 - 1

    def excess(area: float) -> float:
        """Squared distance from the value, minus what is plausible if `area` is true."""
        spread = 1 + extra * (1 - area) / (2 - area) + extra * area / (1 + area)
        return (value - area) ** 2 - z**2 * area * (1 - area) * spread / (m * n)

    return Estimate(value, _root(excess, 0.0, value), _root(excess, 1.0, value))


def _root(excess: Callable[[float], float], end: float, value: float) -> float:
    """Where `excess` changes its sign between `end` and `value`; it is negative near the value."""
    return value if value == end else float(brentq(excess, end, value + math.copysign(1e-9, end - value)))


def proportion(successes: float, trials: float) -> Estimate:
    """A proportion with the exact interval of Clopper & Pearson (1934); dependent trials count as fewer."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    return Estimate(successes / trials, low, high)


def difference(first: tuple[int, int], second: tuple[int, int]) -> Estimate:
    """The difference of two independent proportions, each (successes, trials): method 10 of Newcombe (1998)."""
    (p, p_low, p_high), (q, q_low, q_high) = _wilson(*first), _wilson(*second)
    return Estimate(p - q, p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low))


def _wilson(successes: int, trials: int) -> Estimate:
    """A proportion with the score interval of Wilson (1927)."""
    z, p = norm.ppf(0.5 + CONFIDENCE / 2), successes / trials
    centre, scale = p + z**2 / (2 * trials), 1 + z**2 / trials
    half = z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return Estimate(p, float(centre - half) / scale, float(centre + half) / scale)


def advantage(members: Tensor, others: Tensor, seed: int = 0) -> Estimate:
    """The membership advantage, true-positive minus false-positive rate at the best threshold (Yeom et al. 2018).

    The largest difference over all thresholds is biased upwards: it is above 0 for scores that say nothing. So a
    random half of the images chooses the threshold, and the other half gives the rates and their interval.

    Args:
        members: scores [M] of training images, M at least 2.
        others: scores [N] of images that were not trained on, N at least 2.
        seed: draws the halves.
    """
    generator = torch.Generator().manual_seed(seed)
    halves = [x.double()[torch.randperm(len(x), generator=generator)].tensor_split(2) for x in (members, others)]
    (choose_in, measure_in), (choose_out, measure_out) = halves
    threshold = best_threshold(choose_in, choose_out)
    hits, false_alarms = int((measure_in >= threshold).sum()), int((measure_out >= threshold).sum())
    return difference((hits, len(measure_in)), (false_alarms, len(measure_out)))


def best_threshold(members: Tensor, others: Tensor) -> float:
    """The threshold, one of the scores, with the largest true-positive minus false-positive rate."""
    candidates = torch.cat([members, others]).unique()
    rates = [1 - torch.searchsorted(x.sort().values, candidates).double() / len(x) for x in (members, others)]
    return float(candidates[(rates[0] - rates[1]).argmax()])


class TruePositives(NamedTuple):
    """The true-positive rate at a low false-positive rate.

    Attributes:
        rate: the true-positive rate; its interval takes the threshold as given.
        false_positives: the false-positive rate of the threshold among the other images. Its upper end says what it
            may be on new images.
    """

    rate: Estimate
    false_positives: Estimate


def true_positives_at(members: Tensor, others: Tensor, rate: float) -> TruePositives | None:
    """The true-positive rate at a false-positive rate of at most `rate` (Carlini et al. 2022, sec. III).

    The average success of an attack hides whether a few images are found with certainty; this does not. It is
    None where there are fewer than 1 / `rate` other images, which cannot show so low a rate.
    """
    if len(others) * rate < 1 - 1e-9:
        return None
    allowed = int(len(others) * rate + 1e-9)
    ranked = others.double().sort(descending=True).values
    # Above the highest score that is not allowed to be a false positive
    threshold = float(ranked[allowed]) if allowed < len(ranked) else -math.inf
    hits, false_alarms = int((members.double() > threshold).sum()), int((ranked > threshold).sum())
    return TruePositives(proportion(hits, len(members)), proportion(false_alarms, len(others)))


def lira(scores: Tensor, shadows: Tensor, inside: Tensor) -> Tensor:
    """How unusual scores are for models that were not trained on the image: offline LiRA (Carlini et al. 2022).

    For each image, the scores of those shadow models that were trained without it give the mean of a Gaussian. Few
    models cannot give each image its own variance, so all images share one, as the authors do for few models.

    Args:
        scores: of the audited model [N].
        shadows: of the same images by S models that were trained on other subsets [S, N].
        inside: whether each shadow model was trained on the image, bool [S, N].

    Returns:
        The standardized scores [N]; NaN where all shadow models were trained on the image.
    """
    outside = ~inside
    count = outside.sum(0)
    kept = torch.where(outside, shadows.double(), 0.0)
    mean = torch.where(count > 0, kept.sum(0) / count, math.nan)
    squares = torch.where(outside, shadows.double() - mean, 0.0).square().sum()
    freedom = int((count - 1).clamp_min(0).sum())
    deviation = (squares / freedom).sqrt() if freedom else torch.ones((), dtype=torch.float64)
    return (scores.double() - mean) / deviation.clamp_min(SMALLEST_DEVIATION)
