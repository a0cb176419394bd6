"""From the evaluation config to the evaluator: which features, which real images, which metrics."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.build import build
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.evaluation.code_pictures import check_projection
from lightning_gen.evaluation.encoders import code_disentanglement, reconstruction
from lightning_gen.evaluation.evaluator import Evaluator, Measure
from lightning_gen.evaluation.likelihood import build_likelihood
from lightning_gen.evaluation.rae_distances import four_distances
from lightning_gen.metrics.comparison import Metric
from lightning_gen.metrics.extractors import build_extractor, default_kind
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.points import PointEvaluator
from lightning_gen.metrics.reconstruction import build_lpips
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.metrics.set_metrics import METRICS, named_metrics

OF_ENCODERS = ("reconstruction", "lpips", "disentanglement", "rae")  # models without an encoder go without


def build_evaluator(config: DictConfig, data: ImageDataModule, device: torch.device) -> Evaluator:
    """The evaluator of `config.evaluation`.

    Raises:
        UserError: a metric or features that cannot be had here, with the override to change.
    """
    options = config.evaluation
    check_projection(options.projection)
    shared = {"likelihood": build_likelihood(options), "projection": options.projection}
    if data.train.images.is_floating_point():  # points of the plane: their distances need no features
        note = "evaluation of points, without features"
        return Evaluator(options.name, note, data, _point_evaluator(options, data), **shared)
    check_names(options, data)
    cache_dir = Path(options.cache_dir).expanduser()
    extractor, note = _extractor(options, data, cache_dir)
    evaluator = _sample_evaluator(options, data, extractor, device, cache_dir)
    return Evaluator(options.name, note, data, evaluator, _of_encoder(options), **shared)


def check_names(options: DictConfig, data: ImageDataModule) -> None:
    """Raises UserError: a metric that is not known, or needs factors that the data set lacks."""
    known = [*METRICS, *OF_ENCODERS]
    for name in options.metrics:
        if name not in known:
            raise UserError(
                f"evaluation.metrics: no metric {name!r}, only {', '.join(known)}.{did_you_mean(name, known)}"
            )
    if "disentanglement" in options.metrics and data.train.factors is None:
        raise UserError(
            f"evaluation.metrics: disentanglement needs images with known factors, which dataset={data.dataset} "
            f"lacks: use dataset=sprites."
        )


def added_metrics(options: DictConfig) -> dict[str, Metric]:
    """The metrics of `evaluation/metric`, by name: each node is a function of a `Comparison`, or a `Metric`.

    Their keys are the metric's settings, and stand in its protocol.

    Raises:
        UserError: a name that is taken, or a `_target_` that gives neither.
    """
    nodes = options.get("metric") or {}
    if isinstance(nodes, str):
        raise UserError(f"evaluation.metric={nodes}: metrics of your own are chosen by evaluation/metric=[{nodes}].")
    result = {}
    if "_target_" in nodes:  # several go together, so each has a key of its own
        target = nodes["_target_"]
        name = target.rsplit(".", 1)[-1]
        raise UserError(
            "evaluation/metric: each metric stands under a name. In its file, such as "
            f"conf/evaluation/metric/{name}.yaml, write `{name}: {{_target_: {target}, _partial_: true}}`."
        )
    for name, node in nodes.items():
        if name in METRICS or name in OF_ENCODERS:
            raise UserError(f"evaluation/metric: {name} is the name of a metric of evaluation.metrics: take another.")
        made = build(node)
        if not callable(made) and not isinstance(made, Metric):
            raise UserError(
                f"evaluation/metric={name}: {node.get('_target_')} gives {made!r}, which is not a function of a "
                f"Comparison: is `_partial_: true` missing?"
            )
        metric = made if isinstance(made, Metric) else Metric(made)
        own: Any = OmegaConf.to_container(node, resolve=True)
        settings = {key: value for key, value in own.items() if not key.startswith("_")}
        result[name] = replace(metric, settings={**metric.settings, **settings})
    return result


def _sample_evaluator(
    options: DictConfig, data: ImageDataModule, extractor: FeatureExtractor, device: torch.device, cache_dir: Path
) -> SampleEvaluator:
    reference, other = (data.test, data.train) if options.split == "test" else (data.train, data.test)
    names = [name for name in options.metrics if name in METRICS]
    if reference.labels is None or not hasattr(extractor, "logits_from_features"):
        names = [name for name in names if name != "modes"]  # a default, for where classes are known
    metrics: Mapping[str, Metric] = named_metrics(names) | added_metrics(options)
    return SampleEvaluator(
        extractor,
        reference.images,
        other.images,
        num_samples=options.num_samples,
        num_reference=options.num_reference,
        metrics=metrics,
        reference_labels=reference.labels,
        other_labels=other.labels,
        seed=options.seed,
        device=device,
        cache_dir=cache_dir,
        split=options.split,
    )


def _of_encoder(options: DictConfig) -> tuple[Measure, ...]:
    lpips = build_lpips() if "lpips" in options.metrics else None
    measures: list[Measure] = []
    if lpips is not None or "reconstruction" in options.metrics:
        measures.append(partial(reconstruction, lpips=lpips))
    if "disentanglement" in options.metrics:
        measures.append(code_disentanglement)
    if "rae" in options.metrics:
        measures.append(four_distances)
    return tuple(measures)


def _extractor(options: DictConfig, data: ImageDataModule, cache_dir: Path) -> tuple[FeatureExtractor, str]:
    chosen, train = options.extractor, data.train
    if not OmegaConf.is_dict(chosen):
        raise UserError(f"evaluation.extractor={chosen}: features are chosen by evaluation/extractor={chosen}.")
    asked = {str(key): value for key, value in chosen.items() if key != "name"}
    kind, reason = chosen.name, "asked for"
    if kind == "auto":
        kind, reason = default_kind(data.dataset, train.images, train.labels)
    extractor = build_extractor(
        kind, dataset=data.dataset, images=train.images, labels=train.labels, cache_dir=cache_dir, **asked
    )
    return extractor, f"evaluation by the features of {extractor.name} ({reason})"


def _point_evaluator(options: DictConfig, data: ImageDataModule) -> PointEvaluator:
    if options.get("metric"):
        raise UserError(
            f"evaluation/metric compares images by their features, and dataset={data.dataset} has points."
        )
    modes = data.train.modes
    return PointEvaluator(
        data.test.images,
        data.train.images,
        None if modes is None else (modes.centres, modes.std),
        num_samples=options.num_samples,
        seed=options.seed,
    )
