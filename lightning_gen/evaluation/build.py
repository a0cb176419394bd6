"""Builds the evaluator from the evaluation config: its features, real images and metrics."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.build import build
from lightning_gen.config.tree import is_private
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.evaluation.code_pictures import check_projection
from lightning_gen.evaluation.encoders import code_disentanglement, reconstruction
from lightning_gen.evaluation.evaluator import Evaluator, Measure
from lightning_gen.evaluation.fitted_priors import COMPONENTS
from lightning_gen.evaluation.held_out import HeldOut
from lightning_gen.evaluation.likelihood import build_likelihood
from lightning_gen.evaluation.paths import path_length
from lightning_gen.evaluation.rae_distances import four_distances
from lightning_gen.metrics.cache import ResultCache
from lightning_gen.metrics.comparison import Metric
from lightning_gen.metrics.extractors import build_extractor, default_kind
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.points import PointEvaluator
from lightning_gen.metrics.reconstruction import LPIPS_SIDE, build_lpips
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.metrics.set_metrics import METRICS, named_metrics
from lightning_gen.metrics.table_evaluator import TableEvaluator

FEATURES_OF = {
    "classifier": "a small classifier",
    "inception": "Inception-v3",
    "dinov2": "DINOv2",
    "random": "an untrained network",
    "pixels": "single pixels",
}
OF_SAMPLERS = {"ppl": path_length}
OF_ENCODERS = ("reconstruction", "lpips", "disentanglement", "rae")  # skipped for models without an encoder


def build_evaluator(config: DictConfig, data: ImageDataModule, device: torch.device) -> Evaluator:
    """The evaluator of `config.evaluation`.

    Raises:
        UserError: a metric or features that are not available; the message names the override to change.
    """
    options = config.evaluation
    check_projection(options.projection)
    check_names(options)
    cache_dir = Path(options.cache_dir).expanduser()
    private = is_private(config)
    held_out = HeldOut(data, ResultCache(cache_dir), options.get("held_out"), options.seed, of_training=not private)
    shared: dict[str, Any] = {
        "likelihood": build_likelihood(options),
        "projection": options.projection,
    }
    if data.table is not None:
        note = "rows of a table are compared by their columns, and by classifiers, without features"
        return Evaluator(options.name, note, data, _table_evaluator(options, data), held_out, **shared)
    if data.train.images.is_floating_point():  # points need no features
        note = "points are compared directly, without features"
        return Evaluator(options.name, note, data, _point_evaluator(options, data), held_out, **shared)
    check_metrics(options, data)
    extractor, note = _extractor(options, data, cache_dir)
    evaluator = _sample_evaluator(options, data, extractor, device, cache_dir, floor=not private)
    of_sampler = tuple(measure for name, measure in OF_SAMPLERS.items() if name in options.metrics)
    return Evaluator(options.name, note, data, evaluator, held_out, _of_encoder(options), of_sampler, **shared)


def check_names(options: DictConfig) -> None:
    """Raise a UserError for an unknown metric."""
    known = [*METRICS, *OF_SAMPLERS, *OF_ENCODERS]
    for name in options.metrics:
        if name not in known:
            raise UserError(
                f"evaluation.metrics: {name} does not exist: use {', '.join(known)}.{did_you_mean(name, known)}"
            )


def check_metrics(options: DictConfig, data: ImageDataModule) -> None:
    """Raise a UserError for a metric that these images do not allow."""
    if "disentanglement" in options.metrics and data.train.factors is None:
        raise UserError(
            "evaluation.metrics: disentanglement needs images with known factors, which "
            f"dataset={data.dataset} does not have: use dataset=sprites."
        )

    if "rae" in options.metrics and len(data.train) <= COMPONENTS:
        raise UserError(
            f"evaluation.metrics: rae fits a mixture of {COMPONENTS} Gaussians, which needs more than "
            f"{len(data.train)} training images: leave it out."
        )
    side = min(data.image_shape[1:])
    if "lpips" in options.metrics and side < LPIPS_SIDE:
        raise UserError(
            f"evaluation.metrics: lpips needs images of at least {LPIPS_SIDE}x{LPIPS_SIDE} pixels, not {side}: set "
            f"dataset.size={LPIPS_SIDE}, or leave it out."
        )


def added_metrics(options: DictConfig) -> dict[str, Metric]:
    """The metrics of the group `evaluation/metric`, by name: each is a function of a `Comparison`, or a `Metric`.

    The keys of a metric are its settings, which its protocol contains.

    Raises:
        UserError: a name that is already in use, or a `_target_` that builds something else.
    """
    nodes = options.get("metric") or {}
    if isinstance(nodes, str):
        raise UserError(f"evaluation.metric={nodes}: to add a metric of your own, set evaluation/metric=[{nodes}].")
    result = {}
    if "_target_" in nodes:  # several can be combined, so each needs a key
        target = nodes["_target_"]
        name = target.rsplit(".", 1)[-1]
        raise UserError(
            "evaluation/metric: each metric needs a name. In its file, such as "
            f"conf/evaluation/metric/{name}.yaml, write `{name}: {{_target_: {target}, _partial_: true}}`."
        )
    for name, node in nodes.items():
        if name in (*METRICS, *OF_SAMPLERS, *OF_ENCODERS):
            raise UserError(
                f"evaluation/metric: {name} is already a metric of evaluation.metrics: choose another name."
            )
        made = build(node)
        if not callable(made) and not isinstance(made, Metric):
            raise UserError(
                f"evaluation/metric={name}: {node.get('_target_')} returns {made!r}, not a function of a Comparison. "
                "Is `_partial_: true` missing?"
            )
        metric = made if isinstance(made, Metric) else Metric(made)
        own: Any = OmegaConf.to_container(node, resolve=True)
        settings = {key: value for key, value in own.items() if not key.startswith("_")}
        result[name] = replace(metric, settings={**metric.settings, **settings})
    return result


def _sample_evaluator(
    options: DictConfig,
    data: ImageDataModule,
    extractor: FeatureExtractor,
    device: torch.device,
    cache_dir: Path,
    floor: bool,
) -> SampleEvaluator:
    """`floor`: compare the real images of the other split too; they are the training images."""
    reference, other = (data.test, data.train) if options.split == "test" else (data.train, data.test)
    names = [name for name in options.metrics if name in METRICS]
    if reference.labels is None or not hasattr(extractor, "logits_from_features"):
        names = [name for name in names if name != "modes"]  # one of the defaults; needs known classes
    metrics: Mapping[str, Metric] = named_metrics(names) | added_metrics(options)
    return SampleEvaluator(
        extractor,
        reference.images,
        other.images if floor else None,
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
        raise UserError(f"evaluation.extractor={chosen}: to choose features, set evaluation/extractor={chosen}.")
    asked = {str(key): value for key, value in chosen.items() if key != "name"}
    kind, reason = chosen.name, "as set in the config"
    if kind == "auto":
        kind, reason = default_kind(data.dataset, train.images, train.labels)
    extractor = build_extractor(
        kind, dataset=data.dataset, images=train.images, labels=train.labels, cache_dir=cache_dir, **asked
    )
    return extractor, f"images are compared by the features of {FEATURES_OF[kind]}, {extractor.name} ({reason})"


def _table_evaluator(options: DictConfig, data: ImageDataModule) -> TableEvaluator:
    _refuse_own_metrics(options, data)
    assert data.table is not None
    sets = (data.test.images, data.train.images)
    return TableEvaluator(data.table, *sets, num_samples=options.num_samples, seed=options.seed)


def _refuse_own_metrics(options: DictConfig, data: ImageDataModule) -> None:
    if options.get("metric"):
        raise UserError(
            f"evaluation/metric compares images by their features, and dataset={data.dataset} has no images: omit it."
        )


def _point_evaluator(options: DictConfig, data: ImageDataModule) -> PointEvaluator:
    _refuse_own_metrics(options, data)
    modes = data.train.modes
    return PointEvaluator(
        data.test.images,
        data.train.images,
        None if modes is None else (modes.centres, modes.std),
        num_samples=options.num_samples,
        seed=options.seed,
    )
