"""The metrics of samples, by name: how each is computed, and what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import cast

import torch
from torch import Tensor

from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.metrics.class_metrics import class_balance, inception_score, per_class_frechet
from lightning_gen.metrics.classifier import accuracy, train_classifier
from lightning_gen.metrics.comparison import Classifies, Comparison, Metric
from lightning_gen.metrics.coverage import precision_recall_density_coverage
from lightning_gen.metrics.frechet import frechet_distance, frechet_infinity, least_for_infinity
from lightning_gen.metrics.kernel_distance import kernel_distance
from lightning_gen.metrics.memorization import Nearness, memorization
from lightning_gen.metrics.neighbours import radii
from lightning_gen.metrics.two_sample import classifier_two_sample_test, train_on_synthetic_test_on_real
from lightning_gen.progress import progress


def _fid(c: Comparison) -> dict[str, float]:
    return {c.named("fid"): frechet_distance(c.fake.moments, c.reference.moments)}


def _fid_infinity(c: Comparison) -> dict[str, float]:
    value = frechet_infinity(c.features()[0], c.reference.moments, seed=c.seed)
    return {c.named("fid_infinity"): value}


def _kid(c: Comparison) -> dict[str, float]:
    mean, std = kernel_distance(*c.features(), seed=c.seed, **METRICS["kid"].settings)
    return {c.named("kid"): mean, c.named("kid") + "_std": std}


def _inception_score(c: Comparison) -> dict[str, float]:
    mean, std = inception_score(c.logits()[0], seed=c.seed, **METRICS["inception_score"].settings)
    return {c.named("inception_score"): mean, c.named("inception_score") + "_std": std}


def _prdc(c: Comparison) -> dict[str, float]:
    fake, real = c.features()
    k = METRICS["prdc"].settings["k"]
    real_radii = c.once(f"radii-k{k}", lambda: {"radii": radii(real, k)})["radii"]
    return precision_recall_density_coverage(fake, real, k, real_radii)


def _per_class(c: Comparison) -> dict[str, float]:
    fake, real = (logits.argmax(1) for logits in c.logits())
    classes = cast(Classifies, c.extractor).num_classes
    fake_features, real_features = c.features()
    distances = per_class_frechet(fake_features, fake, real_features, real, classes)
    variation, lost = class_balance(fake, real, classes)
    name = c.named("fid")
    return {
        **{f"{name}_class_{label}": value for label, value in distances.items()},
        "class_total_variation": variation,
        "classes_lost": float(lost),
    }


def _diversity(c: Comparison) -> dict[str, float]:
    """The ratio of root mean squared distances between images of a set: samples to real images.

    It needs only moments: the mean squared distance of pairs is twice the trace of the covariance.
    """
    sides = (c.fake.moments, c.reference.moments)
    fake, real = (max(float(moments.covariance.trace()), 0.0) for moments in sides)  # rounding can make it negative
    return {"diversity": (fake / real) ** 0.5 if real else float("nan")}


def _modes(c: Comparison) -> dict[str, float]:
    net = cast(Classifies, c.extractor)
    seen = net.logits_from_features(cast(Tensor, c.fake.features)).argmax(1)
    labels = c.labels["reference"]
    classes = max(net.num_classes, int(labels.max()) + 1)  # the reference may have classes that training lacks
    variation, lost = class_balance(seen, labels, classes)
    return {"classes_found": float(classes - lost), "class_total_variation": variation}


def _memorization(c: Comparison) -> dict[str, float]:
    train, held_out = (cast(Tensor, c.real[name].features) for name in ("train", "held_out"))
    known = c.once("held-out-nearness", lambda: asdict(Nearness.of(held_out, train)))
    floor = Nearness(known["distance"].to(train.device), float(known["authentic"]), float(known["copies"]))
    return memorization(Nearness.of(c.features()[0], train), floor)


def _c2st(c: Comparison) -> dict[str, float]:
    with progress(None, "evaluation: two-sample test (C2ST)"):
        right, p_value = classifier_two_sample_test(*c.features(), seed=c.seed)
    return {"c2st": right, "c2st_p": p_value}


def _tstr(c: Comparison) -> dict[str, float]:
    """Train on synthetic, test on real; samples are labelled by the extractor's classifier."""
    train, test = cast(Tensor, c.real["train"].images), cast(Tensor, c.real["held_out"].images)
    fake = cast(Tensor, c.fake.images)
    labels = c.logits()[0].argmax(1).cpu()
    n = min(len(fake), len(train))
    pick = torch.randperm(len(train), generator=torch.Generator().manual_seed(c.seed))[:n]
    with progress(None, "evaluation: a classifier of real images (TSTR)"):
        real = train_classifier(train[pick], c.labels["train"][pick], seed=c.seed)
    with progress(None, "evaluation: a classifier of samples (TSTR)"):
        tstr = train_on_synthetic_test_on_real(fake, labels, test, c.labels["held_out"], seed=c.seed)
    return {"tstr": tstr, "tstr_real": accuracy(real, test, c.labels["held_out"])}


METRICS: dict[str, Metric] = {
    "fid": Metric(_fid, keep=frozenset()),
    "diversity": Metric(_diversity, keep=frozenset(), floor=False),
    "modes": Metric(
        _modes,
        keep=frozenset(),
        floor=False,
        needs=frozenset({"classes", "labels"}),
        keep_fake=frozenset({"features"}),
    ),
    "fid_infinity": Metric(_fid_infinity, floor=False, settings={"points": 15}, least=least_for_infinity),
    "kid": Metric(_kid, settings={"subsets": 100, "subset_size": 1000}),
    "inception_score": Metric(
        _inception_score, settings={"splits": 10}, needs=frozenset({"classes"}), least=lambda width: 10
    ),
    "prdc": Metric(_prdc, settings={"k": 5}, least=lambda width: 6),  # each image and k others
    "per_class": Metric(_per_class, needs=frozenset({"classes"})),
    "memorization": Metric(
        _memorization, keep=frozenset({"features", "images"}), floor=False, needs=frozenset({"train"})
    ),
    "c2st": Metric(_c2st, settings={"hidden": 20, "steps": 300}, least=lambda width: 4),
    "tstr": Metric(
        _tstr,
        keep=frozenset({"features", "images"}),
        floor=False,
        settings={"labels": "predicted by the extractor"},
        needs=frozenset({"classes", "train", "labels"}),
    ),
}


def named_metrics(names: Iterable[str]) -> dict[str, Metric]:
    """The metrics of ``METRICS`` with these names.

    Raises:
        UserError: an unknown name.
    """
    for name in names:
        if name not in METRICS:
            known = ", ".join(METRICS)
            raise UserError(f"evaluation.metrics: {name} does not exist: use {known}.{did_you_mean(name, METRICS)}")
    return {name: METRICS[name] for name in names}
